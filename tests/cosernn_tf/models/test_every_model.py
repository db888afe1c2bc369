"""Every model against its equations in NumPy, and what a prediction may depend on."""

import dataclasses
from collections.abc import Collection

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.features import embed_sessions
from cosernn_tf.models.base import ATTENTION, PREDICTION, cosine_loss_sum
from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import FEATURES, MODEL_INPUTS, PATHWAYS, SESSION_FEATURES, Per
from cosernn_tf.windows import SequenceData, make_batch, sequence_data
from tests.cosernn_tf.models import oracle
from tests.cosernn_tf.models.conftest import DATA, USERS, build, call, small, whole_users
from tests.workspaces import random_embeddings


def test_forward_pass_is_the_one_of_the_paper(config, table, data):
    batch = make_batch(data, whole_users(table))
    model = build(config)
    outputs = call(model, batch)
    expected, attention = oracle.predict(oracle.weights_of(model), config, DATA, batch.inputs)
    np.testing.assert_allclose(outputs[PREDICTION], expected, atol=1e-5)
    if attention is None:
        assert ATTENTION not in outputs
    else:
        np.testing.assert_allclose(outputs[ATTENTION], attention, atol=1e-5)


def test_the_inputs_of_that_test_tell_formulas_apart(config, table, data):
    """Users have different initial states, pathways different inputs, and weights matter."""
    batch = make_batch(data, whole_users(table))
    assert len(set(batch.inputs["age_bucket"])) >= 3
    known = [user.decode() in USERS for user in batch.inputs["user_id"]]
    assert 0 < sum(known) < len(known)
    for ours, theirs in zip(PATHWAYS, (*PATHWAYS[1:], PATHWAYS[0]), strict=True):
        difference = batch.inputs[f"last_{ours}"] - batch.inputs[f"last_{theirs}"]
        assert (np.abs(difference).max(axis=-1) > 0.02).mean() > 0.3
    weights = oracle.weights_of(build(config))
    expected, _ = oracle.predict(weights, config, DATA, batch.inputs)
    for name, values in weights.items():
        changed, _ = oracle.predict({**weights, name: 1.5 * values}, config, DATA, batch.inputs)
        assert np.abs(changed - expected).max() > 1e-3, name


def test_loss_is_the_mean_over_pairs_of_one_minus_the_cosine(default, table, data):
    batch = make_batch(data, whole_users(table))
    assert 0 < batch.weight.sum() < batch.weight.size
    model = build(default)
    prediction = call(model, batch)[PREDICTION]
    mean = float(cosine_loss_sum(prediction, batch.target, batch.weight)) / batch.weight.sum()
    expected, _ = oracle.predict(oracle.weights_of(model), default, DATA, batch.inputs)
    assert mean == pytest.approx(oracle.loss(expected, batch.target, batch.weight), abs=1e-5)


def test_gradients_are_the_finite_differences_of_the_oracle(default, table, data):
    """Of every weight, so that none is left out of training."""
    # A user of three is unknown.
    batch = make_batch(data, whole_users(table).take(np.array([1, 2, 3])))
    model = build(default)
    variables = oracle.variables_of(model)
    with tf.GradientTape() as tape:
        prediction = call(model, batch, training=True)[PREDICTION]
        loss = cosine_loss_sum(prediction, batch.target, batch.weight) / batch.weight.sum()
    gradients = tape.gradient(loss, [variable.value for variable in variables.values()])
    weights = oracle.weights_of(model)

    def loss_at(name: str, index: tuple[int, ...], value: float) -> float:
        changed = weights[name].copy()
        changed[index] = value
        predictions, _ = oracle.predict({**weights, name: changed}, default, DATA, batch.inputs)
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


@pytest.mark.parametrize("last", [1, 4])
def test_nothing_of_a_later_session_reaches_a_prediction(default, table, last):
    """Through the whole chain: the session's own tracks, and everything of the ones after it."""
    embeddings = random_embeddings()
    position = table.position
    predictor = Predictor(build(default))

    def predictions(changed):
        data = sequence_data(changed, embed_sessions(changed, embeddings))
        return predictor(data, whole_users(changed)).embeddings

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


def test_padding_and_neighbours_change_nothing(default, table, data):
    windows = whole_users(table).take(np.array([0, 2, 5]))
    assert len(set(windows.lengths)) == 3
    model = build(default)
    together = call(model, make_batch(data, windows))
    for row, length in enumerate(windows.lengths):
        alone = call(model, make_batch(data, windows.take(np.array([row]))))
        for name, values in alone.items():
            np.testing.assert_allclose(together[name][row, :length], values[0], atol=1e-6)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_that_is_left_out_has_no_say_and_one_that_is_in_has(table, data, feature):
    names = [spec.name for spec in MODEL_INPUTS if spec.feature == feature]
    batch, changed = (make_batch(d, whole_users(table)) for d in (data, permuted(data, names)))
    others = tuple(name for name in FEATURES if name != feature)
    for features, moves in ((others, False), (FEATURES, True)):
        model = build(small(features=features))
        before, after = (call(model, inputs)[PREDICTION].numpy() for inputs in (batch, changed))
        assert np.array_equal(before, after) != moves
        assert (np.abs(after - before).max() > 0.02) == moves


@pytest.mark.parametrize("pathways", [("all",), ("played",), ("played", "skipped")])
def test_a_pathway_that_is_left_out_has_no_say_and_one_that_is_in_has(table, data, pathways):
    model = build(small(pathways=pathways))
    before = call(model, make_batch(data, whole_users(table)))[PREDICTION].numpy()
    for pathway in PATHWAYS:
        changed = make_batch(permuted(data, [f"last_{pathway}"]), whole_users(table))
        after = call(model, changed)[PREDICTION].numpy()
        if pathway in pathways:
            assert np.abs(after - before).max() > 0.02
        else:
            np.testing.assert_array_equal(after, before)


def permuted(data: SequenceData, names: Collection[str]) -> SequenceData:
    """The data with these inputs of other sessions."""
    assert names
    random = np.random.default_rng(0)
    values = {name: random.permutation(data.inputs[name]) for name in names}
    return dataclasses.replace(data, inputs={**data.inputs, **values})
