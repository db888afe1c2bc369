"""Histograms of integers as bars: which bins, and how high."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from beam_pipelines.inspection.histogram import Histogram

_FEW_BARS: Final = 30
_MAX_BARS: Final = 60
"""Of a linear axis; fewer where values are few, so that a bar has some."""
_BARS_PER_OCTAVE: Final = 4
_MANY_VALUES: Final = 1_000
"""Below, logarithmic axes have half as many bars."""
_LONG_TAIL: Final = 12
"""A logarithmic axis is used where the greatest value is so many times the median."""


@dataclass(frozen=True)
class Bars:
    """Adjoining bars; the area of one is what is in it, on the axis that `is_log` names."""

    edges: np.ndarray
    """(n + 1,) float64."""
    heights: np.ndarray
    """(n,) float64: of a linear axis how many are in it, of a logarithmic one per doubling."""
    is_log: bool


def bars_of(histogram: Histogram) -> Bars:
    """Bars with whole numbers of integers in each, all of them if there are few.

    On a logarithmic axis they get wider with the values, and so that their widths do not show in
    their heights, these are numbers for each doubling. There, zeros have no place.
    """
    low, high = int(histogram.values[0]), int(histogram.values[-1])
    median = histogram.quantile(50) or 0
    if high < _LONG_TAIL * max(1, median) or high <= _FEW_BARS:
        most = min(max(_FEW_BARS, 2 * math.isqrt(histogram.size)), _MAX_BARS)
        width = -(-(high - low + 1) // most)
        edges = np.arange(low, high + width + 1, width) - 0.5
        return Bars(edges, _in_bins(histogram, edges), is_log=False)
    edges = np.unique(np.rint(_doubling(histogram, max(1, low), high + 1)))
    return _per_doubling(histogram, edges - 0.5)


def even_bars(histogram: Histogram) -> Bars:
    """Bars of equal width on a logarithmic axis, from the least value, for values that are many."""
    low, high = max(1, int(histogram.values[0])), int(histogram.values[-1])
    return _per_doubling(histogram, _doubling(histogram, low, high + 1))


def _doubling(histogram: Histogram, low: int, high: int) -> np.ndarray:
    """Edges from `low` to `high` or above."""
    per_octave = _BARS_PER_OCTAVE if histogram.size >= _MANY_VALUES else _BARS_PER_OCTAVE // 2
    steps = math.ceil(math.log2(high / low) * per_octave)
    edges: np.ndarray = low * 2 ** (np.arange(max(1, steps) + 1) / per_octave)
    return edges


def _per_doubling(histogram: Histogram, edges: np.ndarray) -> Bars:
    return Bars(edges, _in_bins(histogram, edges) / np.diff(np.log2(edges)), is_log=True)


def _in_bins(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    heights, _ = np.histogram(histogram.values, edges, weights=histogram.counts)
    return np.asarray(heights, np.float64)
