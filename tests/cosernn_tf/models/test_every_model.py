"""Every model against its equations in NumPy, and what a prediction may depend on."""

import dataclasses
from collections.abc import Collection

import numpy as np
import pytest

from cosernn_tf.models import create
from cosernn_tf.models.base import ATTENTION, PREDICTION, cosine_loss_sum
from cosernn_tf.schema import FEATURES, MODEL_INPUTS, PATHWAYS
from cosernn_tf.windows import SequenceData, make_batch, pack_batch, split_by_rows
from tests.cosernn_tf.models import oracle
from tests.cosernn_tf.models.checks import (
    assert_causal,
    assert_gradient_of_oracle,
    assert_padding_and_neighbours_are_nothing,
    gradients,
    step_gradients,
)
from tests.cosernn_tf.models.conftest import (
    ABLATIONS,
    CASES,
    DATA,
    USERS,
    build,
    call,
    small,
    whole_users,
)


@pytest.mark.parametrize("case", [*CASES, *ABLATIONS])
def test_forward_pass_is_the_one_of_the_paper(case, table, data):
    config = {**CASES, **ABLATIONS}[case]
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
    """Along random directions, which no weight escapes; and none is left out of training."""
    # A user of three is unknown.
    windows = whole_users(table).take(np.array([1, 2, 3]))
    batch = make_batch(data, windows)
    model = build(default)
    found = gradients(model, batch)
    assert all(np.abs(gradient).max() > 1e-5 for gradient in found)
    assert_gradient_of_oracle(model, default, DATA, batch, found)
    # As training takes it, compiled, packed and in parts.
    parts = [pack_batch(data, part) for part in split_by_rows(windows, max_rows=20)]
    assert [len(part.active) > 1 and part.active[0] for part in parts] == [2, 1]
    for ours, theirs in zip(step_gradients(model, parts), found, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6 * max(1.0, np.abs(theirs).max()))


def test_gradients_where_sessions_are_zero_vectors(default, table, data):
    """As before any history, and where no track has an embedding."""
    batch = make_batch(data, whole_users(table).take(np.array([1, 2, 3])))
    for name in ("last_played", "last_skipped", "last_all", "long_term"):
        assert batch.inputs[name].any()
        batch.inputs[name][:] = 0.0
    model = build(default)
    expected, _ = oracle.predict(oracle.weights_of(model), default, DATA, batch.inputs)
    np.testing.assert_allclose(call(model, batch)[PREDICTION], expected, atol=1e-5)
    assert_gradient_of_oracle(model, default, DATA, batch, gradients(model, batch))


def test_a_model_whose_weights_are_all_zero_has_a_finite_gradient(default, table, data):
    """Its prediction is the zero vector unless history makes it one, and unit norm is not defined.

    There, `UnitNorm` is linear, and its slope great: see test_layers.py.
    """
    model = create(default, DATA).build()
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    batch = make_batch(data, whole_users(table))
    outputs = call(model, batch)[PREDICTION].numpy()
    np.testing.assert_array_equal(outputs[:, 0], np.zeros((table.num_users, 40)))
    found = gradients(model, batch)
    assert all(np.isfinite(gradient).all() for gradient in found)
    # Training would leave that place.
    assert max(np.abs(gradient).max() for gradient in found) > 0.0


@pytest.mark.parametrize("last", [1, 4])
def test_nothing_of_a_later_session_reaches_a_prediction(default, table, last):
    assert_causal(build(default), table, last=last)


def test_padding_and_neighbours_change_nothing(default, table, data):
    assert_padding_and_neighbours_are_nothing(build(default), table, data)


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
