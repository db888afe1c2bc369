"""Fig. 2b (§4.4): skip rate against the similarity of a session to what the user had before.

x is the cosine of a session's s with the mean of s over all earlier sessions of the user, y the
share of skipped listens among the kept ones, the first 10. Sessions with at least k skips give
Pearson's correlation of x and y, and the slope of the regression of y on x.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.clustered import ClusteredTotals, intervals, sum_by
from cosernn_tf.analysis.rows import Row, around
from cosernn_tf.features import normalize
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, TRACK_PADDING

MIN_SKIPS: Final = tuple(range(MAX_TRACKS_PER_SESSION))
"""k; with 10 skips the rate is 1."""

BINS: Final = 40
"""Of cosines from -1 to 1."""

_N, _X, _Y, _XX, _XY, _YY = range(6)
_NO_VARIANCE: Final = 1e-12
"""Rounding of values all alike stays below, differences of values that are not above."""


@dataclass(frozen=True, kw_only=True)
class SkipCorrelation(Row):
    """A point of Fig. 2b: of sessions with at least so many skips."""

    min_skips: int
    sessions: int
    """With an earlier session, both with an embedded track."""
    users: int
    correlation: float | None
    """None where cosine or skip rate do not vary."""
    correlation_low: float | None
    correlation_high: float | None
    slope: float | None
    """Of the skip rate, per 1 of cosine."""
    slope_low: float | None
    slope_high: float | None


@dataclass(frozen=True, kw_only=True)
class SkipRateAtCosine(Row):
    """The skip rate of such sessions by cosine."""

    min_skips: int
    cosine_from: float
    cosine_to: float
    """Not included, but for 1."""
    sessions: int
    users: int
    skip_rate: float | None
    """Mean over sessions."""
    skip_rate_low: float | None
    skip_rate_high: float | None


class SkipRelation:
    """Gathers Fig. 2b; neither order nor grouping of users matters."""

    def __init__(self) -> None:
        self._totals = ClusteredTotals(len(MIN_SKIPS), 6)
        self._curve = ClusteredTotals(len(MIN_SKIPS) * BINS, 2)

    def add(self, block: Block) -> None:
        """Adds users of whom no other block has a session."""
        table = block.table
        earlier = mean_of_earlier(block.vectors, table.row_splits)
        (rows,) = np.nonzero(earlier.any(axis=1) & block.vectors.any(axis=1))
        cosine = np.vecdot(earlier[rows], block.vectors[rows]).astype(np.float64)
        cosine = np.clip(cosine, -1.0, 1.0)
        skips = np.count_nonzero(table.skipped[rows] == 1, axis=1)
        rate = skips / np.count_nonzero(table.track[rows] != TRACK_PADDING, axis=1)
        user = table.user_of_session[rows]

        # A session with n skips is one with at least 0, 1, ... n.
        times = np.minimum(skips, MIN_SKIPS[-1]) + 1
        row = np.repeat(np.arange(len(rows)), times)
        min_skips = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
        x, y = cosine[row], rate[row]
        one = np.ones_like(x)
        moments = np.stack([one, x, y, x * x, x * y, y * y], axis=1)
        _add(self._totals, user[row], min_skips, moments)
        bins = np.minimum(((x + 1.0) * (BINS / 2)).astype(np.int64), BINS - 1)
        _add(self._curve, user[row], min_skips * BINS + bins, np.stack([y, one], axis=1))

    def correlations(self) -> tuple[SkipCorrelation, ...]:
        """A row a minimum number of skips."""
        totals = self._totals.totals
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation, of_correlation, slope, of_slope = _correlation_and_slope(totals)
            # Fisher's transformation, so that no end is beyond -1 or 1.
            scale = 1.0 - np.square(correlation)
            ends = intervals(
                np.arctanh(correlation),
                self._totals.variance(of_correlation / scale[:, None]),
                self._totals.users,
            )
        slope_low, slope_high = self._totals.intervals(slope, of_slope)
        correlation_low, correlation_high = np.tanh(ends)
        return tuple(
            SkipCorrelation(
                min_skips=k,
                sessions=round(totals[k, _N]),
                users=int(self._totals.users[k]),
                **around("correlation", correlation[k], correlation_low[k], correlation_high[k]),
                **around("slope", slope[k], slope_low[k], slope_high[k]),
            )
            for k in MIN_SKIPS
        )

    def curve(self) -> tuple[SkipRateAtCosine, ...]:
        """A row a minimum number of skips and bin of cosines that has a session."""
        rate, low, high = self._curve.ratio_intervals(0, 1)
        width = 2.0 / BINS
        return tuple(
            SkipRateAtCosine(
                min_skips=int(cell // BINS),
                cosine_from=round(-1.0 + width * (cell % BINS), 9),
                cosine_to=round(-1.0 + width * (cell % BINS + 1), 9),
                sessions=round(self._curve.totals[cell, 1]),
                users=int(self._curve.users[cell]),
                **around("skip_rate", rate[cell], max(low[cell], 0.0), min(high[cell], 1.0)),
            )
            for cell in np.flatnonzero(self._curve.totals[:, 1])
        )


def mean_of_earlier(vectors: np.ndarray, row_splits: np.ndarray) -> np.ndarray:
    """§4.4: direction of the mean of the user's earlier sessions; zero before the first.

    Args:
        vectors: (S, dim) float32, consecutive rows of one user in time order; zero rows do not
            count.
        row_splits: (users + 1,)

    Returns:
        (S, dim) float32, unit norm or zero.
    """
    # Sums over all rows above, less those of earlier users.
    above = np.zeros((len(vectors) + 1, vectors.shape[1]))
    np.cumsum(vectors, axis=0, dtype=np.float64, out=above[1:])
    lengths = np.diff(row_splits)
    sums = above[:-1] - np.repeat(above[row_splits[:-1]], lengths, axis=0)
    return normalize(sums).astype(np.float32)


def _add(totals: ClusteredTotals, user: np.ndarray, cell: np.ndarray, values: np.ndarray) -> None:
    cells = len(totals.totals)
    keys, sums = sum_by(user * cells + cell, values)
    totals.add_groups(keys % cells, sums)


def _correlation_and_slope(
    totals: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(cells,) correlation and slope, each with its (cells, 6) gradients; NaN without variance."""
    n, x, y, xx, xy, yy = (totals / totals[:, [_N]]).T
    n = totals[:, _N]
    zero, one = np.zeros_like(n), np.ones_like(n)
    a, b, c = xx - x * x, xy - x * y, yy - y * y
    a[a <= _NO_VARIANCE] = np.nan
    c[c <= _NO_VARIANCE] = np.nan
    of_a = np.stack([x * x - a, -2 * x, zero, one, zero, zero]) / n
    of_b = np.stack([x * y - b, -y, -x, zero, one, zero]) / n
    of_c = np.stack([y * y - c, zero, -2 * y, zero, zero, one]) / n
    slope = np.where(np.isnan(c), np.nan, b / a)
    of_slope = (of_b - slope * of_a) / a
    correlation = np.clip(b / np.sqrt(a * c), -1.0, 1.0)
    of_correlation = of_b / np.sqrt(a * c) - correlation / 2 * (of_a / a + of_c / c)
    return correlation, of_correlation.T, slope, of_slope.T
