"""The LSTM against that of Keras, and against its equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.models.lstm import StackedLSTM
from tests.cosernn_tf.models.oracle import lstm_cell, weights_of

BATCH, STEPS, DIM, UNITS = 3, 7, 5, 4


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = ((BATCH, STEPS, DIM), (BATCH, UNITS), (BATCH, UNITS))
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.fixture(scope="module")
def layers() -> tuple[StackedLSTM, keras.layers.LSTM]:
    ours = StackedLSTM(UNITS, name="lstm")
    theirs = keras.layers.LSTM(UNITS, return_sequences=True)
    ours.build((None, None, DIM))
    theirs.build((None, None, DIM))
    random = np.random.default_rng(1)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        assert mine.name == other.name
        values = random.normal(size=mine.shape)
        mine.assign(values)
        other.assign(values)
    return ours, theirs


def test_outputs_are_those_of_the_equations(layers, inputs):
    sequences, h, c = inputs
    ours = layers[0]
    weights = {
        f"lstm/{variable.name}": variable.numpy().astype(np.float64) for variable in ours.weights
    }
    outputs = ours(sequences, initial_state=[h, c]).numpy()
    for row in range(BATCH):
        state = (h[row].astype(np.float64), c[row].astype(np.float64))
        for step in range(STEPS):
            state = lstm_cell(weights, "lstm", sequences[row, step], *state)
            np.testing.assert_allclose(outputs[row, step], state[0], atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_outputs_and_gradients_are_those_of_keras(layers, inputs, compiled):
    target = np.random.default_rng(2).normal(size=(BATCH, STEPS, UNITS)).astype(np.float32)

    def run(layer, sequences, h, c):
        with tf.GradientTape() as tape:
            tape.watch([sequences, h, c])
            outputs = layer(sequences, initial_state=[h, c])
            loss = tf.reduce_sum(target * tf.square(outputs))
        weights = [variable.value for variable in layer.trainable_variables]
        return outputs, tape.gradient(loss, [*weights, sequences, h, c])

    found = [
        (tf.function(run) if compiled else run)(layer, *map(tf.constant, inputs))
        for layer in layers
    ]
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.abs(theirs).max() > 0.1


def test_it_refuses_a_mask(layers, inputs):
    sequences, h, c = inputs
    with pytest.raises(ValueError, match="takes no mask"):
        layers[0](sequences, initial_state=[h, c], mask=np.ones((BATCH, STEPS), bool))


def test_it_comes_back_from_its_configuration(layers):
    again = StackedLSTM.from_config(layers[0].get_config())
    assert (again.units, again.return_sequences, again.name) == (UNITS, True, "lstm")


def test_oracle_names_every_weight():
    layer = StackedLSTM(UNITS, name="lstm")
    inputs = keras.Input((None, DIM))
    h, c = keras.Input((UNITS,)), keras.Input((UNITS,))
    model = keras.Model([inputs, h, c], layer(inputs, initial_state=[h, c]))
    assert set(weights_of(model)) == {"lstm/kernel", "lstm/recurrent_kernel", "lstm/bias"}
