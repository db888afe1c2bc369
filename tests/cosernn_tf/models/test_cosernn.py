"""CoSeRNN against its equations in NumPy, and what a prediction may depend on."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models import create
from cosernn_tf.models.base import ATTENTION, PREDICTION, cosine_loss_sum
from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import SESSION_FEATURES, Per
from cosernn_tf.windows import Windows, make_batch, sequence_data
from tests.cosernn_tf.models import oracle
from tests.cosernn_tf.models.conftest import DATA
from tests.workspaces import random_embeddings


def whole_users(table) -> Windows:
    starts, ends = table.row_splits[:-1], table.row_splits[1:]
    return Windows(np.arange(table.num_users), starts, starts, ends)


def test_forward_pass_is_the_one_of_the_paper(model, table, data):
    batch = make_batch(data, whole_users(table))
    outputs = model(batch.inputs)
    expected, attention = oracle.cosernn(oracle.weights_of(model), DATA, batch.inputs)
    np.testing.assert_allclose(outputs[PREDICTION], expected, atol=1e-5)
    np.testing.assert_allclose(outputs[ATTENTION], attention, atol=1e-5)


def test_the_inputs_of_that_test_tell_formulas_apart(model, table, data):
    """Users have different initial states, pathways different inputs, and weights matter."""
    batch = make_batch(data, whole_users(table))
    assert len(set(batch.inputs["age_bucket"])) >= 3
    played, skipped = batch.inputs["last_played"], batch.inputs["last_skipped"]
    assert (np.abs(played - skipped).max(axis=-1) > 0.1).mean() > 0.5
    weights = oracle.weights_of(model)
    expected, _ = oracle.cosernn(weights, DATA, batch.inputs)
    for name, values in weights.items():
        changed, _ = oracle.cosernn({**weights, name: 1.5 * values}, DATA, batch.inputs)
        assert np.abs(changed - expected).max() > 1e-3, name


def test_no_history_leaves_all_attention_to_the_offset(model, table, data):
    batch = make_batch(data, whole_users(table))
    attention = model(batch.inputs)[ATTENTION].numpy()
    np.testing.assert_array_equal(attention[:, 0], [[1.0, 0.0]] * table.num_users)
    real = (batch.inputs["long_term"] != 0).any(axis=-1)
    assert (attention[real] > 0).all()
    np.testing.assert_allclose(attention.sum(axis=-1), 1.0, atol=1e-6)


def test_loss_is_the_mean_over_pairs_of_one_minus_the_cosine(model, table, data):
    batch = make_batch(data, whole_users(table))
    assert 0 < batch.weight.sum() < batch.weight.size
    prediction = model(batch.inputs)[PREDICTION]
    mean = float(cosine_loss_sum(prediction, batch.target, batch.weight)) / batch.weight.sum()
    expected, _ = oracle.cosernn(oracle.weights_of(model), DATA, batch.inputs)
    assert mean == pytest.approx(oracle.loss(expected, batch.target, batch.weight), abs=1e-5)


def test_gradients_are_the_finite_differences_of_the_oracle(model, table, data):
    batch = make_batch(data, whole_users(table).take(np.arange(3)))
    variables = {
        f"{layer.name}/{variable.name}": variable
        for layer in model.layers
        for variable in layer.weights
    }
    with tf.GradientTape() as tape:
        prediction = model(batch.inputs, training=True)[PREDICTION]
        loss = cosine_loss_sum(prediction, batch.target, batch.weight) / batch.weight.sum()
    gradients = tape.gradient(loss, [variable.value for variable in variables.values()])
    weights = oracle.weights_of(model)

    def loss_at(name: str, index: tuple[int, ...], value: float) -> float:
        changed = weights[name].copy()
        changed[index] = value
        predictions, _ = oracle.cosernn({**weights, name: changed}, DATA, batch.inputs)
        return oracle.loss(predictions, batch.target, batch.weight)

    step = 1e-6
    for name, gradient in zip(variables, gradients, strict=True):
        dense = tf.convert_to_tensor(gradient).numpy()
        for place in np.argsort(np.abs(dense), axis=None)[-2:]:
            index = np.unravel_index(place, dense.shape)
            value = float(weights[name][index])
            difference = loss_at(name, index, value + step) - loss_at(name, index, value - step)
            assert abs(dense[index]) > 1e-5, name
            assert dense[index] == pytest.approx(difference / (2 * step), rel=2e-3), name


def test_a_unit_that_is_zero_everywhere_has_a_finite_gradient(table, data):
    """Without bias and with dead rectifiers û = 0; so is u before any history."""
    model = create(ModelConfig(lstm_units=3, dense_units=2), DATA).build()
    combine = model.get_layer("combine_2")
    combine.set_weights([np.zeros((2, 2)), np.full(2, -1.0)])
    batch = make_batch(data, whole_users(table))
    with tf.GradientTape() as tape:
        outputs = model(batch.inputs, training=True)
        loss = cosine_loss_sum(outputs[PREDICTION], batch.target, batch.weight)
    np.testing.assert_array_equal(outputs[PREDICTION][:, 0], np.zeros((table.num_users, 40)))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients)


@pytest.mark.parametrize("last", [1, 4])
def test_nothing_of_a_later_session_reaches_a_prediction(model, table, last):
    """Through the whole chain: the session's own tracks, and everything of the ones after it."""
    embeddings = random_embeddings()
    position = table.position

    def predictions(changed):
        data = sequence_data(changed, embed_sessions(changed, embeddings))
        return Predictor(model)(data, whole_users(changed)).embeddings

    random = np.random.default_rng(0)
    after, own = position > last, position >= last
    columns = {}
    for feature in SESSION_FEATURES:
        values = getattr(table, feature.name).copy()
        if feature.per is not Per.USER:
            # A prediction may use context, and time since, of its own session (§5.1.2).
            is_context = feature.name in (
                "session_start", "day_of_week", "hour", "device", "seconds_since_last"
            )  # fmt: skip
            rows = np.flatnonzero(after if is_context else own)
            values[rows] = values[random.permutation(rows)]
        columns[feature.name] = values
    before = predictions(table)
    changed = predictions(dataclasses.replace(table, **columns))
    np.testing.assert_array_equal(changed[~after], before[~after])
    assert np.abs(changed[after] - before[after]).max() > 1e-2

    keep = ~after
    lengths = np.bincount(table.user_of_session[keep], minlength=table.num_users)
    shorter = dataclasses.replace(
        table,
        row_splits=np.concatenate([[0], np.cumsum(lengths)]),
        **{
            feature.name: getattr(table, feature.name)[keep]
            for feature in SESSION_FEATURES
            if feature.per is not Per.USER
        },
    )
    np.testing.assert_allclose(predictions(shorter), before[keep], atol=1e-6)


def test_padding_and_neighbours_change_nothing(model, table, data):
    windows = whole_users(table)
    assert len(set(windows.lengths)) > 2
    together = model(make_batch(data, windows).inputs)
    for user, length in enumerate(windows.lengths):
        alone = model(make_batch(data, windows.take(np.array([user]))).inputs)
        for name in (PREDICTION, ATTENTION):
            np.testing.assert_allclose(together[name][user, :length], alone[name][0], atol=1e-6)
