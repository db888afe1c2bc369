"""Paired two-tailed t-tests, from moments that can be gathered shard by shard (decision 13).

And Holm's correction of the p-values of many tests.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of n values; shards' moments add up to the whole's.

    Merging deviations, not squares, loses no digits to a large mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Of (n,) values; NaN, which is a session that is not scored, does not count."""
        values = values[~np.isnan(values)].astype(np.float64)
        if not values.size:
            return cls()
        mean = float(values.mean())
        return cls(values.size, mean, float(np.square(values - mean).sum()))

    def __add__(self, other: "Moments") -> "Moments":
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * other.count / count,
            self.squares + other.squares + step**2 * self.count * other.count / count,
        )


@dataclass(frozen=True)
class PairedTest:
    """A two-tailed paired t-test of the mean difference being zero."""

    sessions: int
    mean_difference: float
    """The reference's mean less the other model's; NaN without sessions."""
    statistic: float
    """Student's t with `sessions` - 1 degrees of freedom."""
    p_value: float
    """NaN with fewer than two sessions; 1 where every difference is zero."""
    effect_size: float
    """Cohen's d_z: the mean difference over the standard deviation of the differences of sessions.
    NaN with fewer than two sessions."""
    standard_error: float
    """Of the mean difference, if sessions were independent; NaN with fewer than two."""


def paired_t_test(differences: Moments) -> PairedTest:
    """Tests the differences of two models on the sessions that both are scored on.

    As `scipy.stats.ttest_rel`, but for differences that are all zero, where that gives NaN: two
    models that always score the same do not differ, so t is 0 and p is 1.
    """
    count, mean = differences.count, differences.mean
    if count < 2:
        return PairedTest(count, mean if count else np.nan, np.nan, np.nan, np.nan, np.nan)
    deviation = float(np.sqrt(differences.squares / (count - 1)))
    if deviation == 0.0:
        infinite = float(np.copysign(np.inf, mean)) if mean else 0.0
        return PairedTest(count, mean, infinite, 0.0 if mean else 1.0, infinite, 0.0)
    error = deviation / np.sqrt(count)
    statistic = mean / error
    p_value = 2.0 * stats.t.sf(abs(statistic), count - 1)
    return PairedTest(count, mean, float(statistic), float(p_value), mean / deviation, float(error))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's p-values: those below a level keep the chance of any false finding below that level.

    The i-th smallest of m is multiplied by m - i + 1, and is at least what the smaller ones have
    become, at most 1. (Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.)

    Args:
        p_values: (tests,); NaN is no test, and stays.

    Returns:
        (tests,) float64.
    """
    adjusted = np.full(len(p_values), np.nan)
    tests = np.flatnonzero(~np.isnan(p_values))
    order = tests[np.argsort(p_values[tests])]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted
