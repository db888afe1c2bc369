"""Tests of a mean difference being zero, ours and others: which of them find one where none is?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from cosernn_tf.evaluation.clusters import LEVEL, Bootstrap, Contrast, clustered_means
from cosernn_tf.evaluation.significance import Moments, paired_t_test
from cosernn_tf.evaluation.user_sums import UserSums

ALPHA: Final = 1.0 - LEVEL


@dataclass(frozen=True)
class Sample:
    """Differences of several pairs of models on the same sessions."""

    users: np.ndarray
    """(sessions,) int64: whose each is."""
    differences: np.ndarray
    """(pairs, sessions)."""
    sums: UserSums
    """Of the differences, of each pair as of a model."""

    @classmethod
    def of(cls, users: np.ndarray, differences: np.ndarray) -> "Sample":
        counts = np.bincount(users)
        sums = np.array([np.bincount(users, of_pair, len(counts)) for of_pair in differences])
        return cls(users, differences, UserSums(counts, sums))

    @property
    def means(self) -> np.ndarray:
        """(pairs,)."""
        return np.asarray(self.sums.sums.sum(axis=1) / self.sums.counts.sum())


def paired_t(sample: Sample, bootstrap: Bootstrap) -> np.ndarray:
    """Over sessions, as the paper."""
    del bootstrap
    p_values = [paired_t_test(Moments.of(of_pair)).p_value for of_pair in sample.differences]
    return np.array(p_values) < ALPHA


def bootstrap_t(sample: Sample, bootstrap: Bootstrap) -> np.ndarray:
    """Ours: |t*| of resampled users."""
    own: list[Contrast] = [(pair, None) for pair in range(len(sample.differences))]
    return clustered_means([sample.sums], own, bootstrap)[0].p_values <= ALPHA


def clustered_t(sample: Sample, bootstrap: Bootstrap) -> np.ndarray:
    """The clustered standard error and Student's distribution, without resamples."""
    del bootstrap
    counts, sums = sample.sums.counts, sample.sums.sums
    size = len(counts)
    residuals = sums - sample.means[:, None] * counts
    errors = np.sqrt(size / (size - 1) * np.square(residuals).sum(axis=1)) / counts.sum()
    p_values = 2.0 * stats.t.sf(np.abs(sample.means) / errors, size - 1)
    return np.asarray(p_values < ALPHA)


def percentile(sample: Sample, bootstrap: Bootstrap) -> np.ndarray:
    """Whether zero is outside of the middle 95 % of the means of resampled users."""
    means = _resampled_means(sample, bootstrap)
    low, high = np.quantile(means, [ALPHA / 2, 1 - ALPHA / 2], axis=1)
    return np.asarray((low > 0) | (high < 0))


def bca(sample: Sample, bootstrap: Bootstrap) -> np.ndarray:
    """The same, corrected for bias and acceleration (Efron and Tibshirani, 1993, chapter 14)."""
    counts, sums = sample.sums.counts, sample.sums.sums
    means = _resampled_means(sample, bootstrap)
    without = (sums.sum(axis=1, keepdims=True) - sums) / (counts.sum() - counts)
    lead = without.mean(axis=1, keepdims=True) - without
    acceleration = (lead**3).sum(axis=1) / (6.0 * np.square(lead).sum(axis=1) ** 1.5)
    below = np.count_nonzero(means < sample.means[:, None], axis=1)
    bias = stats.norm.ppf((below + 0.5) / (means.shape[1] + 1))
    ends = []
    for tail in (ALPHA / 2, 1 - ALPHA / 2):
        shifted = bias + stats.norm.ppf(tail)
        levels = stats.norm.cdf(bias + shifted / (1.0 - acceleration * shifted))
        ends.append([np.quantile(row, level) for row, level in zip(means, levels, strict=True)])
    low, high = np.array(ends)
    return np.asarray((low > 0) | (high < 0))


def _resampled_means(sample: Sample, bootstrap: Bootstrap) -> np.ndarray:
    """(pairs, resamples)."""
    random, size = np.random.default_rng(bootstrap.seed), len(sample.sums.counts)
    drawn = random.multinomial(size, np.full(size, 1 / size), bootstrap.resamples)
    weights = drawn.T.astype(np.float64)
    return np.asarray(sample.sums.sums @ weights / (sample.sums.counts @ weights))


TESTS: Final[dict[str, Callable[[Sample, Bootstrap], np.ndarray]]] = {
    "paired t": paired_t,
    "ours": bootstrap_t,
    "clustered t": clustered_t,
    "percentile": percentile,
    "BCa": bca,
}
"""By title: (pairs,) bool, whether each finds that the mean difference is not zero."""
