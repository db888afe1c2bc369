"""A trained model, one session at a time: arrays in, arrays out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.models import stepping
from cosernn_tf.models.base import ATTENTION, PREDICTION, inputs_of
from cosernn_tf.models.one_step import AFTER, step, step_signature
from cosernn_tf.models.stepping import Part


@dataclass(frozen=True)
class Outputs:
    """Of n sessions."""

    embeddings: np.ndarray
    """u, (n, dim) float32, unit norm."""
    attention: np.ndarray | None
    """[β̂, β̄], (n, 2) float32, of models that have it."""


class StepModel:
    """Calls a model for one session of any number of users, without tracing it again."""

    def __init__(self, model: keras.Model) -> None:
        self.inputs = inputs_of(model)
        self.state: Mapping[str, Part] = stepping.state_of(model)
        """Names and shapes of what is to be kept of a user; zeros for one without sessions."""
        signature = step_signature(model)

        def called(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            return step(model, dict(zip(signature, tensors, strict=True)))

        def without_state(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
            found = called(*tensors)
            return {name: found[name] for name in found if not name.endswith(AFTER)}

        specs = list(signature.values())
        self._dtypes = {name: spec.dtype for name, spec in signature.items()}
        # What of the graph makes the state is left out where nobody asks for it.
        self._step = tf.function(called, input_signature=specs).get_concrete_function()
        self._predict = tf.function(without_state, input_signature=specs).get_concrete_function()

    def __call__(
        self, inputs: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> tuple[Outputs, dict[str, np.ndarray]]:
        """The predictions for n users' next sessions, and the state after them.

        Args:
            inputs: Those of `schema.MODEL_INPUTS` that are among `inputs`, (n, ...) each, of the
                types that they have there.
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
        found = []
        for name, dtype in self._dtypes.items():
            values = inputs[name] if name in inputs else np.ascontiguousarray(state[name])
            # Twice as quick as to convert what has the type already.
            found.append(tf.constant(values, tf.string if dtype == tf.string else None))
        return found


def _outputs(found: Mapping[str, Any]) -> Outputs:
    attention = found.get(ATTENTION)
    return Outputs(found[PREDICTION].numpy(), None if attention is None else attention.numpy())
