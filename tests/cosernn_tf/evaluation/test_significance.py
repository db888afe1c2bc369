"""The paired t-test against SciPy, and against planted differences."""

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.evaluation.significance import Moments, paired_t_test


def merged(values: np.ndarray, parts: int) -> Moments:
    return sum((Moments.of(part) for part in np.array_split(values, parts)), Moments())


@pytest.mark.parametrize("parts", [1, 2, 17, 400])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_equals_scipy_however_the_scores_are_split(parts, offset):
    rng = np.random.default_rng(0)
    a = rng.random(300) + offset
    b = a + rng.normal(0.02, 0.3, 300)
    expected = stats.ttest_rel(a, b)
    actual = paired_t_test(merged(a - b, parts))
    assert actual.sessions == 300
    assert actual.mean_difference == pytest.approx(a.mean() - b.mean(), abs=1e-9)
    assert actual.statistic == pytest.approx(expected.statistic, rel=1e-7)
    assert actual.p_value == pytest.approx(expected.pvalue, rel=1e-7)


def test_deviations_are_of_the_mean_and_not_of_squares():
    values = 1e9 + np.random.default_rng(0).random(1000)
    expected = np.var(values, ddof=1)
    for parts in (1, 9):
        moments = merged(values, parts)
        assert moments.squares / (moments.count - 1) == pytest.approx(expected, rel=1e-6)


def test_sessions_that_are_not_scored_do_not_count():
    a = np.array([0.1, np.nan, 0.5, 0.7, np.nan])
    b = np.array([0.3, np.nan, 0.4, 0.1, np.nan])
    expected = stats.ttest_rel(a, b, nan_policy="omit")
    actual = paired_t_test(Moments.of(a - b))
    assert actual.sessions == 3
    assert actual.p_value == pytest.approx(expected.pvalue, rel=1e-12)


def test_swapping_the_models_swaps_the_sign():
    differences = np.random.default_rng(0).normal(0.1, 1, 50)
    one, other = (paired_t_test(Moments.of(sign * differences)) for sign in (1, -1))
    assert one.p_value == pytest.approx(other.p_value, rel=1e-12)
    assert one.statistic == -other.statistic
    assert one.mean_difference == -other.mean_difference


@pytest.mark.parametrize(
    ("differences", "statistic", "p_value"),
    [
        ([0.0] * 5, 0.0, 1.0),
        ([-0.0, 0.0], 0.0, 1.0),
        ([0.25] * 4, np.inf, 0.0),
        ([-0.25] * 4, -np.inf, 0.0),
        ([0.25], np.nan, np.nan),
        ([], np.nan, np.nan),
        ([np.nan], np.nan, np.nan),
    ],
)
def test_degenerate_differences(differences, statistic, p_value):
    test = paired_t_test(Moments.of(np.array(differences)))
    np.testing.assert_equal((test.statistic, test.p_value), (statistic, p_value))


def test_planted_differences():
    rng = np.random.default_rng(0)
    null = [paired_t_test(Moments.of(rng.normal(0, 1, 40))).p_value for _ in range(4000)]
    for level in (0.05, 0.5):
        spread = np.sqrt(level * (1 - level) / len(null))
        assert np.mean(np.array(null) < level) == pytest.approx(level, abs=4 * spread)
    # A mean of three standard errors is found at 0.05 in 83 % of samples (noncentral t).
    power = [paired_t_test(Moments.of(rng.normal(0.3, 0.6325, 40))).p_value for _ in range(2000)]
    critical = stats.t.isf(0.025, 39)
    expected = stats.nct.sf(critical, 39, 3) + stats.nct.cdf(-critical, 39, 3)
    assert np.mean(np.array(power) < 0.05) == pytest.approx(expected, abs=0.04)
