"""Intervals against plain sums over users, and against how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.analysis.clustered import ClusteredTotals, sum_by


def random_sums(seed: int = 0, *, users: int = 30, cells: int = 4, size: int = 3) -> np.ndarray:
    """(users, cells, size), some of them all zero."""
    rng = np.random.default_rng(seed)
    sums = rng.gamma(2.0, 3.0, (users, cells, size))
    sums[rng.random((users, cells)) < 0.3] = 0.0
    return sums


def as_groups(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    user, cell = np.nonzero(sums.any(axis=2))
    return cell, sums[user, cell]


def totals_of(sums: np.ndarray) -> ClusteredTotals:
    totals = ClusteredTotals(*sums.shape[1:])
    totals.add(sums)
    return totals


def test_a_ratio_and_its_interval_by_hand():
    # Two users: 1 of 2, and 5 of 8. Their deviations from 0.6 are -0.2 and 0.2, over 10 in all.
    totals = totals_of(np.array([[[1.0, 2.0]], [[5.0, 8.0]]]))
    ratio, low, high = totals.ratio_intervals(0, 1)
    error = np.sqrt(2 / 1 * (0.2**2 + 0.2**2) / 10**2)
    assert ratio == pytest.approx([0.6])
    assert high - ratio == pytest.approx([12.706204736 * error])
    assert ratio - low == pytest.approx([12.706204736 * error])


def test_the_interval_of_any_function_is_that_of_its_users_deviations():
    sums = random_sums()
    totals = totals_of(sums)
    gradient = np.random.default_rng(1).normal(size=(4, 3))
    value = np.arange(4.0)
    low, high = totals.intervals(value, gradient)
    for cell in range(4):
        own = [user for user in sums[:, cell] if user.any()]
        deviations = [user @ gradient[cell] for user in own]
        error = np.sqrt(len(own) / (len(own) - 1) * sum(d**2 for d in deviations))
        margin = stats.t.ppf(0.975, len(own) - 1) * error
        assert high[cell] == pytest.approx(value[cell] + margin)
        assert low[cell] == pytest.approx(value[cell] - margin)


def test_it_is_close_to_leaving_out_one_user_at_a_time():
    sums = random_sums(2, users=400, cells=1, size=2)
    _, low, high = totals_of(sums).ratio_intervals(0, 1)
    own = sums[sums.any(axis=(1, 2)), 0]
    total = own.sum(axis=0)
    left = [(total - user)[0] / (total - user)[1] for user in own]
    error = np.sqrt((len(own) - 1) / len(own) * np.square(np.array(left) - np.mean(left)).sum())
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, len(own) - 1) * error, rel=0.02)


@pytest.mark.parametrize("as_added", ["at once", "in parts", "as groups"])
def test_parts_and_groups_add_up_to_the_same(as_added):
    sums = random_sums(3)
    totals = ClusteredTotals(4, 3)
    parts = [sums] if as_added == "at once" else [sums[20:], sums[:5], sums[5:20]]
    for part in parts:
        if as_added == "as groups":
            totals.add_groups(*as_groups(part))
        else:
            totals.add(part)
    np.testing.assert_allclose(totals.totals, sums.sum(axis=0))
    np.testing.assert_allclose(totals.products, np.einsum("uci,ucj->cij", sums, sums))
    assert totals.users.tolist() == sums.any(axis=2).sum(axis=0).tolist()


def test_one_user_has_no_interval_and_none_has_no_ratio():
    sums = np.array([[[1.0, 2.0], [0.0, 0.0]]])
    ratio, low, high = totals_of(sums).ratio_intervals(0, 1)
    np.testing.assert_array_equal(ratio, [0.5, np.nan])
    assert np.isnan([low, high]).all()


def test_intervals_hold_the_truth_as_often_as_they_say():
    # 2,000 logs at once, a cell each: 40 users whose own level differs, with 1 to 30 sessions.
    rng = np.random.default_rng(4)
    logs, users = 2_000, 40
    sessions = rng.integers(1, 31, (users, logs))
    level = 0.3 + 0.2 * rng.normal(size=(users, logs))
    noise = rng.normal(size=(users, logs)) * np.sqrt(sessions)
    sums = np.stack([sessions * level + noise, sessions], axis=2).astype(float)
    _, low, high = totals_of(sums).ratio_intervals(0, 1)
    holds = np.mean((low < 0.3) & (high > 0.3))
    assert 0.93 < holds < 0.97

    # As if sessions were independent, it would be far too short: of variance 0.2² + 1 each.
    error = np.sqrt(1.04 / sessions.sum(axis=0))
    assert np.mean(2 * 1.96 * error < high - low) > 0.9


def test_sum_by():
    keys = np.array([3, 1, 3, 0, 1, 3])
    values = np.arange(12.0).reshape(6, 2)
    found, sums = sum_by(keys, values)
    assert found.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(sums, [[6, 7], [10, 12], [14, 17]])
    assert sum_by(keys[:0], values[:0])[1].shape == (0, 2)
