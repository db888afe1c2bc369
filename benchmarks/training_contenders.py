"""The ways to train that are measured: each takes a gradient step on the same windows."""

from collections.abc import Callable
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from cosernn_tf.config import ModelConfig
from cosernn_tf.models import create, layers
from cosernn_tf.models.base import ATTENTION, PREDICTION, cosine_loss_sum, inputs_of
from cosernn_tf.models.cosernn import CoSeRNN
from cosernn_tf.models.data_spec import DataSpec
from cosernn_tf.models.encodings import Encodings, concatenated
from cosernn_tf.prediction import input_signature
from cosernn_tf.schema import EMBEDDING_DIM, MODEL_INPUTS, Per
from cosernn_tf.training.feed import ROWS_PER_PART
from cosernn_tf.training.step import TrainStep
from cosernn_tf.windows import SequenceData, Windows, make_batch, pack_batch, split_by_rows

OURS: Final = "ours"
PADDED: Final = "padded"
REFERENCE: Final = "reference"

Step = Callable[[SequenceData, Windows], None]
"""Makes a batch of windows and takes a step on it; the work is done when it returns."""


class ReferenceGraph(CoSeRNN):
    """The graph of the reference implementation, rebuilt of layers of Keras.

    Two dense layers of ReLU that the pathways share, an LSTM a pathway (`keras.layers.LSTM`, from
    its learnt initial states), two dense layers over both, a linear one to the offset, and an
    attention that is computed from the outputs of the LSTMs; the sum is scaled to unit length. It
    is not that implementation itself, which is for TensorFlow 1 and a GPU.
    """

    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        shared = [self._dense("transform_1"), self._dense("transform_2")]
        outputs = []
        for pathway, features in encodings.features.items():
            transformed = shared[1](shared[0](features))
            lstm = keras.layers.LSTM(self.config.lstm_units, return_sequences=True)
            initial_state = encodings.initial_state(pathway, "h", "c")
            outputs.append(lstm(transformed, initial_state=initial_state))
        states = concatenated("pathways", outputs)
        combined = self._dense("combine_2")(self._dense("combine_1")(states))
        offset = keras.layers.Dense(EMBEDDING_DIM, name="offset")(combined)
        attention = keras.layers.Dense(2, activation="softmax", name="attention_weights")(states)
        prediction, attention = layers.LongTermFusion(name="fusion")(
            [offset, encodings.inputs["long_term"], attention]
        )
        return {PREDICTION: prediction, ATTENTION: attention}


def new_step(config: ModelConfig, data: DataSpec) -> TrainStep:
    """Ours, of a new model."""
    return TrainStep(create(config, data).build(), keras.optimizers.Adam(), clip_norm=0.0)


def ours(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Step:
    """`cosernn_tf.train`'s."""
    step = TrainStep(model, optimizer, clip_norm=0.0)

    def take(data: SequenceData, windows: Windows) -> None:
        parts = split_by_rows(windows, max_rows=ROWS_PER_PART)
        step([pack_batch(data, part) for part in parts])

    return take


def padded(model: keras.Model, optimizer: keras.optimizers.Optimizer, *, max_sessions: int) -> Step:
    """A step on windows that are all padded to `max_sessions`, as one graph."""
    variables = model.trainable_variables
    optimizer.build(variables)
    names = inputs_of(model)

    @tf.function(
        input_signature=[
            input_signature(model),
            tf.TensorSpec((None, max_sessions, EMBEDDING_DIM)),
            tf.TensorSpec((None, max_sessions)),
        ]
    )
    def descend(inputs: dict[str, tf.Tensor], target: tf.Tensor, weight: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            prediction = model(inputs, training=True)[PREDICTION]
            loss = cosine_loss_sum(prediction, target, weight) / ops.sum(weight)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
        return loss

    def take(data: SequenceData, windows: Windows) -> None:
        batch = make_batch(data, windows)
        missing = max_sessions - batch.weight.shape[1]

        def to_length(values: np.ndarray) -> np.ndarray:
            return np.pad(values, [(0, 0), (0, missing), *[(0, 0)] * (values.ndim - 2)])

        inputs = {
            spec.name: batch.inputs[spec.name]
            if spec.per is Per.USER
            else to_length(batch.inputs[spec.name])
            for spec in MODEL_INPUTS
            if spec.name in names
        }
        float(descend(inputs, to_length(batch.target), to_length(batch.weight)))

    return take


def contenders(
    config: ModelConfig, data: DataSpec, *, max_sessions: int
) -> tuple[dict[str, keras.Model], dict[str, Step]]:
    """Models and steps by name; each has an optimizer of its own."""
    models = {
        OURS: create(config, data).build(),
        PADDED: create(config, data).build(),
        REFERENCE: ReferenceGraph(config, data).build(),
    }
    steps = {
        name: ours(model, keras.optimizers.Adam())
        if name == OURS
        else padded(model, keras.optimizers.Adam(), max_sessions=max_sessions)
        for name, model in models.items()
    }
    return models, steps
