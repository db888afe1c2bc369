"""A trained model, one session at a time: arrays in, arrays out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.models import stepping
from cosernn_tf.models.base import ATTENTION, PREDICTION, inputs_of
from cosernn_tf.models.stepping import Part
from cosernn_tf.schema import MODEL_INPUTS, Per

AFTER: Final = "_after"
"""Ends the names of a step's outputs that are state: those of its inputs, after the session."""


@dataclass(frozen=True)
class Outputs:
    """Of n sessions."""

    embeddings: np.ndarray
    """u, (n, dim) float32, unit norm."""
    attention: np.ndarray | None
    """[β̂, β̄], (n, 2) float32, of models that have it."""


def step_signature(model: keras.Model) -> dict[str, tf.TensorSpec]:
    """Of one session of any number of users: the model's inputs, `(batch, ...)`, and the state."""
    inputs = {
        spec.name: tf.TensorSpec((None, *spec.shape), spec.dtype, name=spec.name)
        for spec in MODEL_INPUTS
        if spec.name in inputs_of(model)
    }
    state = {
        name: tf.TensorSpec((None, *part.shape), part.dtype, name=name)
        for name, part in stepping.state_of(model).items()
    }
    return inputs | state


def step(model: keras.Model, tensors: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The outputs for a session of each user, and the state after it; see `step_signature`.

    Returns:
        `PREDICTION`, `(batch, dim)`; `ATTENTION`, `(batch, 2)`, of models that have it; and the
        parts of the state, their names ending in `AFTER`.
    """
    per_user = {spec.name for spec in MODEL_INPUTS if spec.per is Per.USER}
    state = {name: tensors[name] for name in stepping.state_of(model)}
    inputs = {
        name: tensors[name] if name in per_user else tensors[name][:, None]
        for name in inputs_of(model)
    }
    with stepping.carrying(state) as carried:
        outputs = model(inputs, training=False)
    found = {name: values[:, 0] for name, values in outputs.items()}
    return found | {f"{name}{AFTER}": carried.after[name] for name in state}


class StepModel:
    """Calls a model for one session of any number of users, without tracing it again."""

    def __init__(self, model: keras.Model) -> None:
        self.inputs = inputs_of(model)
        self.state: Mapping[str, Part] = stepping.state_of(model)
        """Names and shapes of what is to be kept of a user; zeros for one without sessions."""
        signature = step_signature(model)
        self._names = tuple(signature)

        def called(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            return step(model, dict(zip(self._names, tensors, strict=True)))

        def without_state(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            found = called(*tensors)
            return {name: found[name] for name in found if not name.endswith(AFTER)}

        specs = list(signature.values())
        self._dtypes = [spec.dtype.as_numpy_dtype for spec in specs]
        # What of the graph makes the state is left out where nobody asks for it.
        self._step = tf.function(called, input_signature=specs).get_concrete_function()
        self._predict = tf.function(without_state, input_signature=specs).get_concrete_function()

    def __call__(
        self, inputs: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> tuple[Outputs, dict[str, np.ndarray]]:
        """The predictions for n users' next sessions, and the state after them.

        Args:
            inputs: Those of `schema.MODEL_INPUTS` that are among `inputs`, (n, ...) each.
            state: Of the users, (n, ...) each, as `state` has it.
        """
        found = self._step(*self._tensors(inputs, state))
        return _outputs(found), {name: found[f"{name}{AFTER}"].numpy() for name in self.state}

    def predict(self, inputs: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> Outputs:
        """The same without the state."""
        return _outputs(self._predict(*self._tensors(inputs, state)))

    def _tensors(
        self, inputs: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> list[tf.Tensor]:
        return [
            tf.convert_to_tensor(
                inputs[name] if name in inputs else np.ascontiguousarray(state[name]),
                dtype=dtype,
            )
            for name, dtype in zip(self._names, self._dtypes, strict=True)
        ]


def _outputs(found: Mapping[str, Any]) -> Outputs:
    attention = found.get(ATTENTION)
    return Outputs(found[PREDICTION].numpy(), None if attention is None else attention.numpy())
