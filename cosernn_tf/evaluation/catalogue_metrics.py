"""Metrics of full-catalogue retrieval, as expected over every order of what ties.

What is ranked are all tracks with an embedding. A relevant track is told by two numbers: its first
place a, which is 1 + the tracks with a higher score, and t, the tracks with the same score, itself
included: it stands at each of a, ..., a + t - 1 with the same probability. (McSherry and Najork,
Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores,
ECIR 2008.) A model gains nothing by scoring tracks alike, whatever order the catalogue has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

CUTOFFS: Final = (10, 100)
"""k of recall@k, nDCG@k and hit rate; the reciprocal rank is cut at the last."""

BEYOND: Final = np.iinfo(np.int64).max
"""First place of what is not among the best, or not relevant."""


class Part(StrEnum):
    """Which of a session's tracks are relevant."""

    ALL = "all"
    REPEATED = "repeated"
    """Those that the user had listened to before, in a session as kept."""
    NEW = "new"
    """The others."""


@dataclass(frozen=True)
class CatalogueMetric:
    """A column of `scores.parquet`, if the catalogue is evaluated."""

    name: str
    part: Part
    k: int
    title: str
    meaning: str


def recall(k: int, part: Part = Part.ALL) -> str:
    """Name of the share of the relevant tracks that are among the k best."""
    return _name("recall", k, part)


def ndcg(k: int, part: Part = Part.ALL) -> str:
    """Name of the normalised discounted cumulative gain of the k best."""
    return _name("ndcg", k, part)


def hit(k: int, part: Part = Part.ALL) -> str:
    """Name of whether there is a relevant track among the k best."""
    return _name("hit", k, part)


def rr(part: Part = Part.ALL) -> str:
    """Name of the reciprocal rank of the first relevant track."""
    return _name("rr", CUTOFFS[-1], part)


def _name(metric: str, k: int, part: Part) -> str:
    return f"catalogue_{metric}_{k}" + ("" if part is Part.ALL else f"_{part}")


_TRACKS: Final = {
    Part.ALL: "the session's tracks",
    Part.REPEATED: "its repeated tracks",
    Part.NEW: "its new tracks",
}


def _metrics() -> tuple[CatalogueMetric, ...]:
    metrics = []
    for part, tracks in _TRACKS.items():
        for k in CUTOFFS:
            some = f"any of {tracks} is among the {k} best"
            metrics += [
                CatalogueMetric(recall(k, part), part, k, f"Recall@{k}", f"recall@{k} of {tracks}"),
                CatalogueMetric(ndcg(k, part), part, k, f"nDCG@{k}", f"nDCG@{k} of {tracks}"),
                CatalogueMetric(hit(k, part), part, k, f"Hit@{k}", f"1 if {some}"),
            ]
        k = CUTOFFS[-1]
        first = f"reciprocal rank of the first of {tracks}, 0 beyond {k}"
        metrics.append(CatalogueMetric(rr(part), part, k, f"MRR@{k}", first))
    return tuple(metrics)


CATALOGUE_METRICS: Final = _metrics()

_DISCOUNT: Final = 1.0 / np.log2(2.0 + np.arange(CUTOFFS[-1]))
_CUMULATIVE: Final = np.concatenate([[0.0], np.cumsum(_DISCOUNT)])
"""Of the first 0, 1, ... places."""


def catalogue_scores(
    first: np.ndarray, tied: np.ndarray, parts: Mapping[Part, np.ndarray]
) -> dict[str, np.ndarray]:
    """All metrics of n rankings.

    Args:
        first: (n, slots) int64 first place of each relevant track; `BEYOND` where it is beyond the
            last cutoff.
        tied: (n, slots) int64 tracks with its score, itself included.
        parts: By part, (n, slots) bool: is relevant.

    Returns:
        By name, (n,) float64; NaN where nothing is relevant.
    """
    scores = {}
    for part, relevant in parts.items():
        count = np.count_nonzero(relevant, axis=1)
        of = np.where(count > 0, count, np.nan)
        places = np.where(relevant, first, BEYOND)
        for k in CUTOFFS:
            scores[recall(k, part)] = _expected_share(places, tied, k).sum(axis=1) / of
            ideal = _CUMULATIVE[np.minimum(count, k)]
            gain = _expected_gain(places, tied, k).sum(axis=1)
            scores[ndcg(k, part)] = gain / np.where(count > 0, ideal, np.nan)
        group = _first_group(places, tied)
        for k in CUTOFFS:
            scores[hit(k, part)] = np.where(count > 0, _expected_hit(*group, k), np.nan)
        scores[rr(part)] = np.where(count > 0, _expected_rr(*group), np.nan)
    return {metric.name: scores[metric.name] for metric in CATALOGUE_METRICS}


def _expected_share(first: np.ndarray, tied: np.ndarray, k: int) -> np.ndarray:
    """Probability that each is among the k best."""
    places = np.clip(k + 1 - np.minimum(first, k + 1), 0, tied)
    share: np.ndarray = places / tied
    return share


def _expected_gain(first: np.ndarray, tied: np.ndarray, k: int) -> np.ndarray:
    """Expected discount of each, zero beyond k."""
    before = np.minimum(first - 1, k)
    last = np.minimum(before + np.minimum(tied, k), k)
    gain: np.ndarray = (_CUMULATIVE[last] - _CUMULATIVE[before]) / tied
    return gain


def _first_group(places: np.ndarray, tied: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) first place, size, and relevant tracks of the highest group that has any."""
    slot = np.argmin(places, axis=1)[:, None]
    first = np.take_along_axis(places, slot, axis=1)
    relevant = np.count_nonzero(places == first, axis=1)
    return first[:, 0], np.take_along_axis(tied, slot, axis=1)[:, 0], relevant


def _none_before(tied: np.ndarray, relevant: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Probability that none of a group's relevant tracks is at one of some of its places.

    C(t - m, r) / C(t, r) of m places, r relevant and t tracks in all, as a product of r factors.
    """
    probability = np.ones(np.broadcast_shapes(tied.shape, places.shape))
    for i in range(int(relevant.max(initial=0))):
        others = np.maximum(tied - places - i, 0)
        probability *= np.where(i < relevant, others / np.maximum(tied - i, 1), 1.0)
    return probability


def _expected_hit(first: np.ndarray, tied: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Probability that a relevant track is among the k best: that one of the first group is."""
    hits = (first <= k).astype(np.float64)
    (rows,) = np.nonzero((first <= k) & (tied > 1))
    places = np.minimum(k + 1 - first[rows], tied[rows])
    hits[rows] = 1.0 - _none_before(tied[rows], relevant[rows], places)
    return hits


def _expected_rr(first: np.ndarray, tied: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Expected reciprocal rank of the first relevant track, zero beyond the last cutoff."""
    k = CUTOFFS[-1]
    ranks = np.where(first <= k, 1.0 / np.minimum(first, k), 0.0)
    (rows,) = np.nonzero((first <= k) & (tied > 1))
    if len(rows):
        offsets = np.arange(k + 1)
        later = _none_before(tied[rows, None], relevant[rows, None], offsets)
        place = first[rows, None] + offsets[:-1]
        chance = later[:, :-1] - later[:, 1:]
        ranks[rows] = np.where(place <= k, chance / place, 0.0).sum(axis=1)
    return ranks
