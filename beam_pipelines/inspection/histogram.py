"""Histograms of integers: how often each value occurs, and nothing that grows with the users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

PERCENTS: Final = (1, 5, 25, 50, 75, 95, 99)

BITS: Final = 10
"""Significant bits of a rounded value: it is off by at most 1 in 2**`BITS`."""


@dataclass(frozen=True)
class Histogram:
    """The distinct values of a set of integers, and how often each occurs."""

    values: np.ndarray
    """(n,) int64, ascending."""
    counts: np.ndarray
    """(n,) int64, above 0."""

    @classmethod
    def of(cls, values: np.ndarray) -> "Histogram":
        distinct, counts = np.unique(values.astype(np.int64), return_counts=True)
        return cls(distinct, counts.astype(np.int64))

    def __add__(self, other: "Histogram") -> "Histogram":
        values = np.concatenate([self.values, other.values])
        distinct, place = np.unique(values, return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return Histogram(distinct, counts)

    @property
    def size(self) -> int:
        return int(self.counts.sum())

    @property
    def total(self) -> int:
        """The sum of the values."""
        return int(self.values @ self.counts)

    @property
    def mean(self) -> float | None:
        return self.total / self.size if self.size else None

    @property
    def minimum(self) -> int | None:
        return int(self.values[0]) if self.size else None

    @property
    def maximum(self) -> int | None:
        return int(self.values[-1]) if self.size else None

    def quantile(self, percent: int) -> int | None:
        """The least value that at least so many percent of all are not above; None of none."""
        if not self.size:
            return None
        rank = max(1, -(-self.size * percent // 100))
        return int(self.values[np.searchsorted(np.cumsum(self.counts), rank)])

    def quantiles(self) -> Mapping[str, int | None]:
        return {f"p{percent}": self.quantile(percent) for percent in PERCENTS}

    def size_from(self, value: int) -> int:
        """How many are at least `value`."""
        return int(self.counts[np.searchsorted(self.values, value) :].sum())

    def total_of_largest(self, number: int) -> int:
        """The sum of the `number` greatest values."""
        counts = self.counts[::-1]
        before = np.cumsum(counts) - counts
        taken = np.clip(number - before, 0, counts)
        return int(self.values[::-1] @ taken)


EMPTY: Final = Histogram(np.zeros(0, np.int64), np.zeros(0, np.int64))


def rounded(values: np.ndarray) -> np.ndarray:
    """The values, not negative, rounded to the middles of bins of `BITS` significant bits.

    Values below 2**`BITS` stay as they are; above, there are 2**(`BITS` - 1) bins to an octave,
    however many distinct values there were.
    """
    values = values.astype(np.int64)
    # Of 53 bits a float has all; a value is far from that.
    _, bits = np.frexp(values.astype(np.float64))
    shift = np.maximum(bits - BITS, 0).astype(np.int64)
    return ((values >> shift) << shift) + ((1 << shift) >> 1)


def gini(counts: np.ndarray) -> float | None:
    """How unequal the counts are: 0 if all are equal, towards 1 if one has all; None of nothing."""
    total = int(counts.sum())
    if not total:
        return None
    ascending = np.sort(counts)
    ranks = np.arange(1, len(counts) + 1)
    weighted = float(np.sum((2 * ranks - len(counts) - 1) * ascending.astype(np.float64)))
    return weighted / (len(counts) * total)
