"""What CoSeRNN alone has: attention, and the weights it began with."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import ModelConfig
from cosernn_tf.models import create
from cosernn_tf.models.base import ATTENTION, PREDICTION, cosine_loss_sum
from cosernn_tf.schema import FEATURES
from cosernn_tf.windows import make_batch
from tests.cosernn_tf.models.conftest import DATA, DEFAULTS, build, call, whole_users


def test_no_history_leaves_all_attention_to_the_offset(table, data):
    batch = make_batch(data, whole_users(table))
    attention = call(build(DEFAULTS["cosernn"]), batch)[ATTENTION].numpy()
    np.testing.assert_array_equal(attention[:, 0], [[1.0, 0.0]] * table.num_users)
    real = (batch.inputs["long_term"] != 0).any(axis=-1)
    assert (attention[real] > 0).all()
    np.testing.assert_allclose(attention.sum(axis=-1), 1.0, atol=1e-6)


def test_a_unit_that_is_zero_everywhere_has_a_finite_gradient(table, data):
    """Without bias and with dead rectifiers û = 0; so is u before any history."""
    model = create(ModelConfig(lstm_units=3, dense_units=2), DATA).build()
    combine = model.get_layer("combine_2")
    combine.set_weights([np.zeros((2, 2)), np.full(2, -1.0)])
    batch = make_batch(data, whole_users(table))
    with tf.GradientTape() as tape:
        outputs = call(model, batch, training=True)
        loss = cosine_loss_sum(outputs[PREDICTION], batch.target, batch.weight)
    np.testing.assert_array_equal(outputs[PREDICTION][:, 0], np.zeros((table.num_users, 40)))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("pathways", "features", "expected"),
    [
        # 7 + 24 + 7 of context, 40 of the last session, 1 + 3 + 1 of its summary.
        (("all",), FEATURES[:5], 83),
        (("played",), FEATURES[:5], 83),
        (("played", "skipped"), FEATURES[:5], 83),
        (("played", "skipped", "all"), FEATURES[:5], 83),
        (("played", "skipped"), FEATURES[:1], 40),
        (("played", "skipped"), FEATURES[:2], 78),
        (("played", "skipped"), FEATURES[:3], 79),
        (("played", "skipped"), FEATURES[:4], 80),
        (("played", "skipped"), FEATURES, 86),
    ],
)
def test_the_number_of_weights(pathways, features, expected):
    """By hand, for d LSTM cells and fully connected layers of e."""
    d, e = 7, 4
    transform = (expected + 1) * e + (e + 1) * e
    of_pathway = 4 * d * (e + d + 1) + 2 * 8 * d
    combine = (len(pathways) * d + 1) * e + (e + 1) * e
    heads = (e + 1) * 40 + (e + 1) * 2
    config = ModelConfig(lstm_units=d, dense_units=e, features=features, pathways=pathways)
    model = create(config, DATA).build()
    assert model.count_params() == transform + len(pathways) * of_pathway + combine + heads


def test_the_first_weights_of_a_seed_are_those_of_version_0_1():
    """Sums of what the code of before features and pathways could be chosen drew for seed 1."""
    keras.utils.set_random_seed(1)
    model = create(ModelConfig(lstm_units=400, dense_units=200), DATA).build()
    found = {variable.path: float(np.sum(variable.numpy(), dtype=np.float64))
             for variable in model.weights}  # fmt: skip
    expected = {
        "transform_1/kernel": -32.166265182197094,
        "transform_1/bias": 0.0,
        "transform_2/kernel": 11.528498996049166,
        "transform_2/bias": 0.0,
        "skip_initial_h/embeddings": -0.8870646487921476,
        "skip_initial_c/embeddings": -1.7872681841254234,
        "play_initial_h/embeddings": -0.8722714446485043,
        "play_initial_c/embeddings": 1.5774258822202682,
        "skip_lstm/lstm_cell/kernel": 34.59992263279855,
        "skip_lstm/lstm_cell/recurrent_kernel": -9.711467432952247,
        "skip_lstm/lstm_cell/bias": 400.0,
        "play_lstm/lstm_cell/kernel": -0.3630618676543236,
        "play_lstm/lstm_cell/recurrent_kernel": 6.069702639862726,
        "play_lstm/lstm_cell/bias": 400.0,
        "combine_1/kernel": -1.7855033166706562,
        "combine_1/bias": 0.0,
        "combine_2/kernel": -4.683239411562681,
        "combine_2/bias": 0.0,
        "offset/kernel": -10.25826521962881,
        "offset/bias": 0.0,
        "attention_weights/kernel": 1.755089171230793,
        "attention_weights/bias": 0.0,
    }
    assert list(found) == list(expected)
    # Orthogonal matrices come from a decomposition, which differs in the last bits by machine.
    assert found == pytest.approx(expected, abs=1e-3)
