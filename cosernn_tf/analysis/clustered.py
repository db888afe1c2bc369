"""Confidence intervals for figures of sessions that are not independent: a user's belong together.

Every figure of the analyses is a smooth function of sums over sessions: a ratio, a slope, a length.
Such a function of T = Σ_u x_u, where x_u are a user's own sums, has to first order the variance
Σ_u (∇f(T)·x_u)² = ∇f(T)ᵀ (Σ_u x_u x_uᵀ) ∇f(T), if users are independent and f does not change when
all sums grow alike (then the ∇f(T)·x_u add up to 0). So all that is kept is T and Σ_u x_u x_uᵀ, and
neither grows with the users. This is the linearisation, or sandwich, estimator of cluster sampling;
the interval takes Student's t with one degree of freedom less than there are users.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import stats

CONFIDENCE: Final = 0.95
"""Of every interval."""


class ClusteredTotals:
    """Sums over users in some cells, and over users the products of their own sums."""

    def __init__(self, cells: int, size: int) -> None:
        self.totals = np.zeros((cells, size))
        """T of each cell."""
        self.products = np.zeros((cells, size, size))
        """Σ_u x_u x_uᵀ of each cell."""
        self.users = np.zeros(cells, np.int64)
        """Users whose sums in the cell are not all zero."""

    def add(self, sums: np.ndarray) -> None:
        """Adds users of whom no other part has been added: (users, cells, size)."""
        by_cell = sums.astype(np.float64).transpose(1, 0, 2)
        self.totals += by_cell.sum(axis=1)
        self.products += by_cell.transpose(0, 2, 1) @ by_cell
        self.users += np.count_nonzero(by_cell.any(axis=2), axis=1)

    def add_groups(self, cell: np.ndarray, sums: np.ndarray) -> None:
        """Adds users' sums in the cells where they have any.

        Args:
            cell: (n,) a row a user and cell, each pair once, over all calls.
            sums: (n, size)
        """
        cells, size = self.totals.shape
        self.users += np.bincount(cell, minlength=cells)
        for i in range(size):
            self.totals[:, i] += np.bincount(cell, sums[:, i], cells)
            for j in range(i, size):
                products = np.bincount(cell, sums[:, i] * sums[:, j], cells)
                self.products[:, i, j] += products
                if j > i:
                    self.products[:, j, i] += products

    def variance(self, gradient: np.ndarray) -> np.ndarray:
        """(cells,) of a function whose gradients at the totals are (cells, size)."""
        return np.einsum("ci,cij,cj->c", gradient, self.products, gradient)

    def intervals(self, value: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(cells,) lower and upper ends around the values of that function."""
        return intervals(value, self.variance(gradient), self.users)

    def interval(self, cell: int, value: float, gradient: Sequence[float]) -> tuple[float, float]:
        """The same of one cell."""
        along = np.asarray(gradient, np.float64)
        variance = along @ self.products[cell] @ along
        low, high = intervals(np.array([value]), np.array([variance]), self.users[cell : cell + 1])
        return float(low[0]), float(high[0])

    def ratio_intervals(self, above: int, below: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(cells,) the ratio of two sums, with its lower and upper ends; NaN where it has none."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = self.totals[:, above] / self.totals[:, below]
            gradient = np.zeros_like(self.totals)
            gradient[:, above] = 1.0 / self.totals[:, below]
            gradient[:, below] -= ratio / self.totals[:, below]
            return (ratio, *self.intervals(ratio, gradient))


def intervals(
    value: np.ndarray, variance: np.ndarray, users: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of values with the given variance Σ_u (∇f·x_u)², and users.

    NaN with fewer than two users: one says nothing of how much users differ.
    """
    margin = t_quantile(users) * np.sqrt(np.maximum(variance, 0.0) * correction(users))
    return value - margin, value + margin


def t_quantile(users: np.ndarray) -> np.ndarray:
    """How many standard errors an interval is long on either side; NaN for fewer than two users."""
    freedom = np.where(users > 1, users - 1.0, np.nan)
    return np.asarray(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom))


def correction(users: np.ndarray) -> np.ndarray:
    """U / (U - 1): deviations from a mean that the same users gave are a little too small."""
    return np.where(users > 1, users / np.maximum(users - 1.0, 1.0), np.nan)


def sum_by(key: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums rows of equal keys, in float64.

    Args:
        key: (n,) integers.
        values: (n, size)

    Returns:
        (groups,) the distinct keys, ascending, and (groups, size) their sums.
    """
    if not len(key):
        return key, np.zeros((0, values.shape[1]))
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    return ordered[starts], np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
