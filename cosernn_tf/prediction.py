"""Runs a trained model over windows of a table."""

from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.models.base import ATTENTION, PREDICTION
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


def input_signature() -> dict[str, tf.TensorSpec]:
    """Of `schema.MODEL_INPUTS`, any batch and any length."""
    return {
        model_input.name: tf.TensorSpec(
            (None, *model_input.shape)
            if model_input.per is Per.USER
            else (None, None, *model_input.shape),
            model_input.dtype,
            name=model_input.name,
        )
        for model_input in MODEL_INPUTS
    }


class Predictor:
    """Calls a model on batches of any shape without tracing it again."""

    def __init__(self, model: keras.Model) -> None:
        @tf.function(input_signature=[input_signature()])
        def forward(inputs: dict[str, tf.Tensor]) -> Any:
            return model(inputs, training=False)

        self._forward = forward

    @property
    def traces(self) -> int:
        """How often the model was traced; more than once means that time is lost."""
        return int(self._forward.experimental_get_tracing_count())

    def __call__(self, data: SequenceData, windows: Windows) -> Predictions:
        """Predicts every session of `windows` from its `first_target` on, each once."""
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
