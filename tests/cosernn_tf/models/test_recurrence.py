"""The recurrent layers against those of Keras, and the LSTM against its equations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.models.gru import StackedGRU
from cosernn_tf.models.lstm import StackedLSTM
from cosernn_tf.models.simple_rnn import StackedRNN
from tests.cosernn_tf.models.oracle import lstm_cell, weights_of

BATCH, STEPS, DIM, UNITS = 3, 7, 5, 4


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = ((BATCH, STEPS, DIM), (BATCH, UNITS), (BATCH, UNITS))
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def pair(ours, theirs):
    """A layer of ours and that of Keras, with the same weights."""
    layers = ours(UNITS, name="lstm"), theirs(UNITS, return_sequences=True)
    for layer in layers:
        layer.build((None, None, DIM))
    random = np.random.default_rng(1)
    for mine, other in zip(*(layer.weights for layer in layers), strict=True):
        assert mine.name == other.name
        values = random.normal(size=mine.shape)
        mine.assign(values)
        other.assign(values)
    return layers


@pytest.fixture(scope="module")
def layers() -> tuple[StackedLSTM, keras.layers.LSTM]:
    return pair(StackedLSTM, keras.layers.LSTM)


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
@pytest.mark.parametrize(
    ("ours", "theirs", "states"),
    [
        (StackedLSTM, keras.layers.LSTM, 2),
        (StackedGRU, keras.layers.GRU, 1),
        (StackedRNN, keras.layers.SimpleRNN, 1),
    ],
)
def test_outputs_and_gradients_are_those_of_keras(inputs, ours, theirs, states, compiled):
    target = np.random.default_rng(2).normal(size=(BATCH, STEPS, UNITS)).astype(np.float32)

    def run(layer, sequences, *first):
        with tf.GradientTape() as tape:
            tape.watch([sequences, *first])
            outputs = layer(sequences, initial_state=list(first))
            loss = tf.reduce_sum(target * tf.square(outputs))
        weights = [variable.value for variable in layer.trainable_variables]
        return outputs, tape.gradient(loss, [*weights, sequences, *first])

    found = [
        (tf.function(run) if compiled else run)(layer, *map(tf.constant, inputs[: 1 + states]))
        for layer in pair(ours, theirs)
    ]
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-6)
    for mine, other in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
        assert np.abs(other).max() > 0.1


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
