"""Runs a trained model over windows of a table."""

from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.models.base import ATTENTION, PREDICTION, inputs_of
from cosernn_tf.schema import MODEL_INPUTS, Per
from cosernn_tf.windows import Batch, SequenceData, Windows, make_batch

_WINDOWS_PER_BATCH: Final = 64


@dataclass(frozen=True)
class Predictions:
    """Predictions of n sessions."""

    sessions: np.ndarray
    """(n,) int64 rows of the table, ascending."""
    embeddings: np.ndarray
    """u, (n, dim) float32."""
    attention: np.ndarray | None
    """[β̂, β̄], (n, 2) float32, of models that have it."""


def input_signature(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """Of the inputs that the model takes, any batch and any length."""
    return {
        spec.name: tf.TensorSpec(
            (None, *spec.shape) if spec.per is Per.USER else (None, None, *spec.shape),
            spec.dtype,
            name=spec.name,
        )
        for spec in MODEL_INPUTS
        if spec.name in inputs_of(model)
    }


class Predictor:
    """Calls a model on batches of any shape without tracing it again."""

    def __init__(self, model: keras.Model) -> None:
        self.inputs = inputs_of(model)

        @tf.function(input_signature=[input_signature(model)])
        def forward(inputs: dict[str, tf.Tensor]) -> Any:
            return model(inputs, training=False)

        self._forward = forward

    @property
    def traces(self) -> int:
        """How often the model was traced; more than once means that time is lost."""
        return int(self._forward.experimental_get_tracing_count())

    @property
    def graph(self) -> tf.Graph:
        """Of the model's operations."""
        return self._forward.get_concrete_function().graph

    def __call__(self, data: SequenceData, windows: Windows) -> Predictions:
        """Predicts every session of `windows` from its `first_target` on, each once.

        Args:
            data: Has the inputs of the model, and maybe more.
            windows: Over its sessions.
        """
        data = data.only(self.inputs)
        order = np.argsort(windows.lengths, kind="stable")
        sessions, embeddings, attention = [], [], []
        for start in range(0, len(order), _WINDOWS_PER_BATCH):
            part = windows.take(order[start : start + _WINDOWS_PER_BATCH])
            batch = make_batch(data, part)
            outputs = self._forward(batch.inputs)
            wanted = _targets(batch, part)
            sessions.append(batch.sessions[wanted])
            embeddings.append(outputs[PREDICTION].numpy()[wanted])
            if ATTENTION in outputs:
                attention.append(outputs[ATTENTION].numpy()[wanted])
        if not sessions:
            return Predictions(np.zeros(0, np.int64), np.zeros_like(data.target[:0]), None)
        rows = np.concatenate(sessions)
        ascending = np.argsort(rows)
        return Predictions(
            sessions=rows[ascending],
            embeddings=np.concatenate(embeddings)[ascending],
            attention=np.concatenate(attention)[ascending] if attention else None,
        )


def _targets(batch: Batch, windows: Windows) -> np.ndarray:
    """(B, T) bool: sessions from the first target on, with or without an s⁺."""
    steps = np.arange(batch.sessions.shape[1])
    return (windows.start[:, None] + steps >= windows.first_target[:, None]) & (
        steps < windows.lengths[:, None]
    )
