"""The bootstrap of users against loops over users, SciPy, and cases that are known by hand."""

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.evaluation import clusters
from cosernn_tf.evaluation.clusters import Bootstrap, Contrast, clustered_means
from cosernn_tf.evaluation.user_sums import UserSums

from .planted_differences import planted, resampled_users, sums_of

CONTRASTS: list[Contrast] = [(0, None), (1, None), (2, None), (0, 1), (0, 2), (2, 1)]
BOOTSTRAP = Bootstrap(199, seed=3)


def clustered_t(sessions: list[np.ndarray], around: float) -> tuple[float, float, float]:
    """Mean, clustered standard error and t of the mean less `around`, user by user."""
    total = sum(len(of_user) for of_user in sessions)
    mean = sum(value for of_user in sessions for value in of_user) / total
    squares = sum(sum(value - mean for value in of_user) ** 2 for of_user in sessions)
    error = (len(sessions) / (len(sessions) - 1) * squares) ** 0.5 / total
    return mean, error, (mean - around) / error if error > 1e-9 else np.inf


def by_loops(sessions: list[np.ndarray], bootstrap: Bootstrap) -> tuple[float, ...]:
    """Mean, standard error, interval and p-value of the differences of each user's sessions."""
    mean, error, t = clustered_t(sessions, 0.0)
    null = [
        abs(clustered_t([sessions[user] for user in drawn], mean)[2])
        for drawn in resampled_users(len(sessions), bootstrap.resamples, bootstrap.seed)
    ]
    # The 95 % quantile of 199 and the one that is observed.
    critical = sorted(null)[190 - 1]
    p_value = (1 + sum(value >= abs(t) for value in null)) / 200
    return mean, error, mean - critical * error, mean + critical * error, p_value


def scores_of(seed: int, counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(sessions,) users and (3, sessions) scores of three models, the third much like the first."""
    rng = np.random.default_rng(seed)
    users, scores = planted(rng, np.array(counts), columns=3, correlation=0.4, mean=0.2)
    scores[2] = scores[0] + 0.01 * scores[2] + 0.004
    return users, scores


@pytest.mark.parametrize("counts", [[1] * 9, [3, 1, 8, 1, 1, 5, 40, 2, 2, 9, 1], [4] * 5])
def test_equals_loops_over_the_sessions_of_drawn_users(counts):
    users, scores = scores_of(0, counts)
    # A second metric does not score some sessions, and no session of the second user.
    some = scores + 0.3
    some[:, (users == 1) | (np.arange(len(users)) % 7 == 3)] = np.nan
    assert counts == [4] * 5 or len(set(users[~np.isnan(some[0])])) >= clusters.MIN_USERS
    metrics = [sums_of(users, values, len(counts)) for values in (scores, some)]
    found = clustered_means(metrics, CONTRASTS, BOOTSTRAP)
    for values, of_metric in zip((scores, some), found, strict=True):
        scored = [np.flatnonzero((users == u) & ~np.isnan(values[0])) for u in range(len(counts))]
        scored = [sessions for sessions in scored if len(sessions)]
        assert of_metric.users == len(scored)
        for row, (first, second) in enumerate(CONTRASTS):
            differences = values[first] - (0.0 if second is None else values[second])
            expected = by_loops([differences[sessions] for sessions in scored], BOOTSTRAP)
            assert of_metric.means[row] == pytest.approx(expected[0], rel=1e-9)
            assert of_metric.standard_errors[row] == pytest.approx(expected[1], rel=1e-9)
            if len(scored) < clusters.MIN_USERS:
                assert np.isnan([of_metric.p_values[row], of_metric.low[row]]).all()
                continue
            assert of_metric.p_values[row] == expected[4]
            actual = (of_metric.low[row], of_metric.high[row])
            assert actual == pytest.approx(expected[2:4], rel=1e-7)


def test_users_with_one_session_each_are_a_plain_sample():
    differences = np.random.default_rng(1).exponential(1, 30) - 0.6
    (found,) = clustered_means([UserSums(np.ones(30), differences[None])], [(0, None)], BOOTSTRAP)
    assert found.standard_errors[0] == pytest.approx(stats.sem(differences), rel=1e-12)
    statistic = stats.ttest_1samp(differences, 0).statistic
    assert found.means[0] / found.standard_errors[0] == pytest.approx(statistic, rel=1e-12)


def test_agrees_with_the_resamples_of_scipy():
    """SciPy draws the pairs (sum, count); what it makes of them is the statistic above."""
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 30, 25)
    users, scores = planted(rng, counts, columns=1, correlation=0.3, mean=0.25)
    metric = sums_of(users, scores, 25)
    mean = scores.mean()

    def ratio(sums: np.ndarray, of: np.ndarray, axis: int) -> np.ndarray:
        return sums.sum(axis=axis) / of.sum(axis=axis)

    def statistic(sums: np.ndarray, of: np.ndarray, axis: int) -> np.ndarray:
        own = ratio(sums, of, axis)
        residuals = sums - np.expand_dims(own, axis) * of
        error = np.sqrt(25 / 24 * np.square(residuals).sum(axis=axis)) / of.sum(axis=axis)
        return np.abs(own - mean) / error

    def resampled(of):
        return stats.bootstrap(
            (metric.sums[0], counts), of, paired=True, vectorized=True, n_resamples=20_000,
            method="percentile", rng=np.random.default_rng(5),
        )  # fmt: skip

    (found,) = clustered_means([metric], [(0, None)], Bootstrap(20_000))
    assert found.standard_errors[0] == pytest.approx(resampled(ratio).standard_error, rel=0.08)
    null = resampled(statistic).bootstrap_distribution
    critical = (found.high[0] - found.means[0]) / found.standard_errors[0]
    # The quantile's own error is about 1 %. A normal distribution's would be 1.96.
    assert critical == pytest.approx(np.quantile(null, 0.95), rel=0.04)
    assert critical > 2.3
    p_value = np.mean(null >= found.means[0] / found.standard_errors[0])
    assert 0.005 < p_value < 0.5
    assert found.p_values[0] == pytest.approx(p_value, abs=4 * np.sqrt(2 * p_value / 20_000))


def test_an_interval_excludes_zero_exactly_where_p_is_at_most_a_twentieth():
    rng = np.random.default_rng(3)
    users, scores = planted(rng, rng.integers(1, 9, 20), columns=400, correlation=0.2, mean=0.15)
    own: list[Contrast] = [(column, None) for column in range(400)]
    for resamples in (100, 999, 1000):
        (found,) = clustered_means([sums_of(users, scores, 20)], own, Bootstrap(resamples))
        excludes = (found.low > 0) | (found.high < 0)
        assert 40 < excludes.sum() < 360
        np.testing.assert_array_equal(excludes, found.p_values <= 0.05)


# What it depends on ------------------------------------------------------------------------------


def assert_equal(one: clusters.ClusteredMeans, other: clusters.ClusteredMeans, **kwargs) -> None:
    assert one.users == other.users
    np.testing.assert_array_equal(one.p_values, other.p_values)
    for name in ("means", "standard_errors", "low", "high"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), **kwargs)


def test_the_seed_decides_and_other_metrics_do_not():
    users, scores = scores_of(4, [3, 1, 8, 2, 12, 5, 4])
    metric = sums_of(users, scores, 7)
    other = sums_of(users, np.where(users < 6, scores, np.nan), 7)
    alone = clustered_means([metric], CONTRASTS, BOOTSTRAP)[0]
    assert_equal(clustered_means([other, metric], CONTRASTS, BOOTSTRAP)[1], alone, rtol=0)
    changed = clustered_means([metric], CONTRASTS, Bootstrap(199, seed=4))[0]
    assert (changed.low != alone.low).all()
    # Nor do users whom the metric does not score.
    padded = UserSums(np.append(metric.counts, [0, 0]), np.hstack([metric.sums, np.zeros((3, 2))]))
    assert_equal(clustered_means([padded], CONTRASTS, BOOTSTRAP)[0], alone, rtol=0)


@pytest.mark.parametrize(
    ("weights", "drawn", "elements"), [(1, 1, 1), (50, 15, 100), (7 * 198, 70, 1), (1, 1, 2**21)]
)
def test_parts_of_the_product_do_not_matter(monkeypatch, weights, drawn, elements):
    users, scores = scores_of(5, [3, 1, 8, 2, 12, 5, 4])
    metric = sums_of(users, scores, 7)
    whole = clustered_means([metric], CONTRASTS, BOOTSTRAP)[0]
    monkeypatch.setattr(clusters, "_WEIGHTS_AT_ONCE", weights)
    monkeypatch.setattr(clusters, "_DRAWN_AT_ONCE", drawn)
    monkeypatch.setattr(clusters, "_ELEMENTS_AT_ONCE", elements)
    assert_equal(clustered_means([metric], CONTRASTS, BOOTSTRAP)[0], whole, rtol=1e-9)


# Cases that are known ----------------------------------------------------------------------------


def test_equal_scores_do_not_differ():
    users, scores = scores_of(6, [3, 1, 8, 2, 12])
    metric = sums_of(users, scores[[0, 0]], 5)
    (found,) = clustered_means([metric], [(0, 1)], BOOTSTRAP)
    numbers = (found.means, found.standard_errors, found.low, found.high, found.p_values)
    assert [float(value[0]) for value in numbers] == [0, 0, 0, 0, 1]


def test_the_same_difference_for_every_user():
    counts = np.array([3, 1, 8, 2, 12])
    metric = UserSums(counts, 0.25 * counts[None])
    (found,) = clustered_means([metric], [(0, None)], BOOTSTRAP)
    numbers = (found.means, found.standard_errors, found.low, found.high, found.p_values)
    assert [float(value[0]) for value in numbers] == [0.25, 0, 0.25, 0.25, 1 / 200]


def test_one_user_who_differs_tells_nothing():
    """A third of the resamples do without."""
    sums = np.zeros((1, 40))
    sums[0, 7] = 5.0
    (found,) = clustered_means([UserSums(np.full(40, 3), sums)], [(0, None)], BOOTSTRAP)
    assert found.means[0] == pytest.approx(5 / 120)
    assert found.p_values[0] > 0.25
    assert np.isnan([found.low[0], found.high[0]]).all()


@pytest.mark.parametrize("users", [0, 1, 2, 4])
def test_few_users_have_no_interval(users):
    counts = np.array([3, 1, 8, 2])[:users]
    sums = np.array([[0.5, 0.25, 1.0, 0.75]])[:, :users]
    (found,) = clustered_means([UserSums(counts, sums)], [(0, None)], BOOTSTRAP)
    assert found.users == users
    assert np.isnan([found.low[0], found.high[0], found.p_values[0]]).all()
    expected = [np.nan, 0.5 / 3, 0.75 / 4, 1.75 / 12, 2.5 / 14][users]
    assert found.means[0] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(found.standard_errors[0]) == (users < 2)


def test_too_few_resamples():
    with pytest.raises(ValueError, match="99 resamples, expected at least 100"):
        clustered_means([], CONTRASTS, Bootstrap(99))
