"""How often each test finds a difference where none is, and one that is planted.

A small version of `benchmarks.calibration`. Bounds are four standard errors of a share of 5 % of
`NULLS` away: no seed takes a test there that finds a twentieth, and none away from there one that
takes correlated sessions for independent, which finds a difference in every second null.
"""

import numpy as np
import pytest

from cosernn_tf.evaluation.clusters import Bootstrap, clustered_means
from cosernn_tf.evaluation.significance import Moments, paired_t_test

from .planted_differences import planted, sums_of

NULLS = 1_000
COLUMNS = 50
NEAR = 4 * np.sqrt(0.05 * 0.95 / NULLS)
"""0.028."""


def shares_found(
    *, users: int, most: int, correlation: float, mean: float = 0.0
) -> tuple[float, float]:
    """Shares of the planted differences that the paired t-test and the clustered test find."""
    rng = np.random.default_rng(0)
    of_sessions, of_users = [], []
    for seed in range(NULLS // COLUMNS):
        counts = rng.integers(1, most, users, endpoint=True)
        user, differences = planted(
            rng, counts, columns=COLUMNS, correlation=correlation, mean=mean
        )
        of_sessions += [paired_t_test(Moments.of(row)).p_value for row in differences]
        contrasts = [(column, None) for column in range(COLUMNS)]
        sums = sums_of(user, differences, users)
        of_users += clustered_means([sums], contrasts, Bootstrap(499, seed))[0].p_values.tolist()
    return float(np.mean(np.array(of_sessions) < 0.05)), float(np.mean(np.array(of_users) <= 0.05))


@pytest.mark.parametrize(("users", "most"), [(60, 40), (25, 12)])
def test_under_correlation_only_the_clustered_test_holds(users, most):
    of_sessions, of_users = shares_found(users=users, most=most, correlation=0.5)
    assert of_users == pytest.approx(0.05, abs=NEAR)
    assert of_sessions > 0.3


@pytest.mark.parametrize(("users", "most"), [(60, 1), (60, 40), (10, 1)])
def test_both_hold_where_sessions_are_independent(users, most):
    of_sessions, of_users = shares_found(users=users, most=most, correlation=0.0)
    assert of_sessions == pytest.approx(0.05, abs=NEAR)
    assert of_users == pytest.approx(0.05, abs=NEAR)


def test_a_difference_is_found():
    """Three standard errors away: a t-test of as many means of users finds 84 % of these."""
    users, most, correlation = 60, 20, 0.5
    counts = np.arange(1, most + 1)
    # Of a mean of sessions: (ρ E[n²] + (1 - ρ) E[n]) / (G E[n]²).
    variance = correlation * np.mean(counts**2) + (1 - correlation) * np.mean(counts)
    error = np.sqrt(variance / users) / np.mean(counts)
    _, found = shares_found(users=users, most=most, correlation=correlation, mean=3 * error)
    assert 0.75 < found < 0.9


def test_intervals_of_a_mean_hold_it():
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 20, 40)
    held = []
    for seed in range(NULLS // COLUMNS):
        user, scores = planted(rng, counts, columns=COLUMNS, correlation=0.3, mean=0.7)
        contrasts = [(column, None) for column in range(COLUMNS)]
        (found,) = clustered_means([sums_of(user, scores, 40)], contrasts, Bootstrap(499, seed))
        held += ((found.low <= 0.7) & (found.high >= 0.7)).tolist()
    assert np.mean(held) == pytest.approx(0.95, abs=NEAR)
