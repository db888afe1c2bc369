"""Holm's correction by hand, and what is put together of a pair."""

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.comparisons import ClusteredResults, compare
from cosernn_tf.evaluation.significance import Moments, holm, paired_t_test
from cosernn_tf.evaluation.user_sums import UserSums

from .planted_differences import sums_of

# Holm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([np.nan], [np.nan]),
        # 3 · 0.01, 2 · 0.02, 1 · 0.03, of which none may be less than the one before.
        ([0.02, 0.03, 0.01], [0.04, 0.04, 0.03]),
        ([0.04, 0.001, 0.5, 0.03], [0.09, 0.004, 0.5, 0.09]),
        ([0.4, 0.7, 0.6], [1.0, 1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.02, np.nan, 0.01, np.nan], [0.02, np.nan, 0.02, np.nan]),
        ([0.0, 1.0], [0.0, 1.0]),
    ],
)
def test_holm_by_hand(p_values, expected):
    np.testing.assert_allclose(holm(np.array(p_values)), expected, rtol=1e-12)


def test_holm_rejects_step_by_step():
    """As the procedure is told: the smallest against α / m, the next against α / (m - 1), ..."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.random(12) ** 4
        adjusted = holm(p_values)
        for level in (0.01, 0.05, 0.2):
            rejected = set()
            for step, place in enumerate(np.argsort(p_values)):
                if p_values[place] > level / (12 - step):
                    break
                rejected.add(int(place))
            assert rejected == set(np.flatnonzero(adjusted <= level).tolist())


def test_holm_keeps_the_chance_of_any_false_finding():
    rng = np.random.default_rng(1)
    any_found = [(holm(rng.random(20)) < 0.05).any() for _ in range(2000)]
    assert np.mean(any_found) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))


# Comparisons -------------------------------------------------------------------------------------

MODELS = ("a", "b", "c")
PAIRS = [("c", "a"), ("c", "b"), ("a", "b"), ("a", "c")]
"""Two references."""
COUNTS = np.tile([6, 1, 9, 3, 12, 2, 5, 7], 3)
SIZE = len(COUNTS)
USERS = np.repeat(np.arange(SIZE), COUNTS)


@pytest.fixture(scope="module")
def scores() -> dict[str, np.ndarray]:
    """(models, sessions) by metric; "few" scores 3 users, and "none" nobody."""
    rng = np.random.default_rng(2)
    of_users = rng.normal(0, 0.2, (3, SIZE))[:, USERS]
    cosine = of_users + rng.normal(0, 0.3, (3, len(USERS))) + np.array([[0.25], [-0.5], [0.2]])
    few = np.where(USERS < 3, cosine, np.nan)
    return {"cosine": cosine, "rank": 10 - cosine, "few": few, "none": np.full_like(few, np.nan)}


def compared(scores: dict[str, np.ndarray], *, bootstrap: Bootstrap | None):
    paired = {
        (one, other): {
            metric: paired_t_test(
                Moments.of(values[MODELS.index(one)] - values[MODELS.index(other)])
            )
            for metric, values in scores.items()
        }
        for one, other in PAIRS
    }
    sums: dict[str, UserSums] = {m: sums_of(USERS, values, SIZE) for m, values in scores.items()}
    return compare(
        paired,
        means={
            model: {
                metric: float(np.nanmean(values[row])) if metric != "none" else np.nan
                for metric, values in scores.items()
            }
            for row, model in enumerate(MODELS)
        },
        users={metric: int((of.counts > 0).sum()) for metric, of in sums.items()},
        clustered=None
        if bootstrap is None
        else ClusteredResults(MODELS, PAIRS, sums=sums, bootstrap=bootstrap),
    )


@pytest.fixture(scope="module")
def found(scores):
    return compared(scores, bootstrap=Bootstrap(999))


def test_effect_and_relative_difference(scores, found):
    assert list(found) == PAIRS
    for one, other in PAIRS:
        for metric in ("cosine", "rank", "few"):
            test = found[one, other][metric]
            first = scores[metric][MODELS.index(one)]
            second = scores[metric][MODELS.index(other)]
            differences = (first - second)[~np.isnan(first)]
            effect = differences.mean() / differences.std(ddof=1)
            assert test.paired.effect_size == pytest.approx(effect, rel=1e-9)
            assert test.paired.standard_error == pytest.approx(stats.sem(differences), rel=1e-9)
            # The mean of b's cosines is negative: better stays positive.
            relative = differences.mean() / abs(np.nanmean(second))
            assert test.relative == pytest.approx(relative, rel=1e-9)
            assert (test.relative > 0) == (differences.mean() > 0)
            assert test.users == (3 if metric == "few" else SIZE)


def test_holm_is_over_all_tests_of_a_reference(found):
    for reference in ("a", "c"):
        tests = [
            test for (of, _), tests in found.items() if of == reference for test in tests.values()
        ]
        p_values = np.array([test.paired.p_value for test in tests])
        # "none" has no test.
        assert np.count_nonzero(~np.isnan(p_values)) == 6
        np.testing.assert_array_equal([test.paired_holm for test in tests], holm(p_values))
        p_values = np.array([test.clustered.p_value for test in tests])
        # "few" has none with users as clusters.
        assert np.count_nonzero(~np.isnan(p_values)) == 4
        np.testing.assert_array_equal([test.clustered.p_holm for test in tests], holm(p_values))
        assert [test.is_confirmed for test in tests] == (holm(p_values) < 0.05).tolist()
        assert 0 < sum(test.is_confirmed for test in tests) < len(tests)


def test_the_other_way_round_is_the_mirror_image(found):
    for metric in ("cosine", "rank"):
        one, other = found["a", "c"][metric].clustered, found["c", "a"][metric].clustered
        assert one.interval == tuple(-end for end in other.interval[::-1])
        assert one.statistic == -other.statistic
        assert (one.p_value, one.design_effect) == (other.p_value, other.design_effect)
        # A rank is the opposite of the cosine here.
        mirrored = found["a", "c"]["cosine" if metric == "rank" else "rank"]
        assert one.interval == pytest.approx([-e for e in mirrored.clustered.interval[::-1]])


def test_interval_statistic_and_design_effect(scores, found):
    differences = scores["cosine"][2] - scores["cosine"][1]
    test = found["c", "b"]["cosine"]
    residuals = np.bincount(USERS, differences - differences.mean())
    error = np.sqrt(SIZE / (SIZE - 1) * np.square(residuals).sum()) / len(USERS)
    assert test.clustered.standard_error == pytest.approx(error, rel=1e-9)
    assert test.clustered.statistic == pytest.approx(differences.mean() / error, rel=1e-9)
    effect = (error / stats.sem(differences)) ** 2
    assert test.clustered.design_effect == pytest.approx(effect, rel=1e-9)
    assert effect > 1.5
    low, high = test.clustered.interval
    assert low < test.paired.mean_difference < high
    assert (low + high) / 2 == pytest.approx(test.paired.mean_difference, rel=1e-9)


def test_where_there_is_nothing_to_test(found):
    none = found["a", "b"]["none"]
    assert none.users == none.paired.sessions == 0
    numbers = (none.relative, none.paired_holm, none.clustered.p_holm, none.clustered.statistic,
               none.clustered.design_effect, *none.clustered.interval)  # fmt: skip
    assert np.isnan(numbers).all()
    few = found["a", "b"]["few"].clustered
    assert np.isnan([few.p_value, few.p_holm, *few.interval]).all()
    assert np.isfinite([few.statistic, few.standard_error, few.design_effect]).all()


def test_equal_models():
    values = {"cosine": np.tile(np.random.default_rng(0).random(len(USERS)), (3, 1))}
    test = compared(values, bootstrap=Bootstrap(199))["a", "b"]["cosine"]
    assert (test.paired.effect_size, test.relative, test.paired_holm) == (0, 0, 1)
    assert (test.clustered.statistic, test.clustered.p_holm) == (0, 1)
    assert test.clustered.interval == (0, 0)
    assert np.isnan(test.clustered.design_effect)
    assert not test.is_confirmed


def test_without_a_bootstrap(scores, found):
    plain = compared(scores, bootstrap=None)
    for pair, tests in plain.items():
        for metric, test in tests.items():
            assert test.clustered is None
            assert not test.is_confirmed
            np.testing.assert_equal(test.paired_holm, found[pair][metric].paired_holm)
