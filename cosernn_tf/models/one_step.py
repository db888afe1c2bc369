"""A model as a function of one session and the state before it."""

from collections.abc import Mapping
from typing import Final

import keras
import tensorflow as tf

from cosernn_tf.models import stepping
from cosernn_tf.models.base import inputs_of
from cosernn_tf.schema import MODEL_INPUTS, Per

AFTER: Final = "_after"
"""Ends the names of a step's outputs that are state: those of its inputs, after the session."""


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
