"""What a model recommends to all, taken together: coverage, concentration, popularity, novelty."""

from dataclasses import dataclass
from typing import Final

import numpy as np

HEAD_SHARE: Final = 0.5
"""Of the listens in training: the head are the tracks most listened to that have this share."""


class Popularity:
    """Of the tracks of a catalogue, by their listens in the training split."""

    def __init__(self, train_listens: np.ndarray) -> None:
        """`train_listens`: (tracks,) int64, the order of the catalogue, at least one track."""
        total = int(train_listens.sum())
        self.log_listens = np.log1p(train_listens)
        """(tracks,) natural logarithm of 1 + listens."""
        order = np.argsort(-train_listens, kind="stable")
        before = np.cumsum(train_listens[order]) - train_listens[order]
        self.is_head = np.zeros(len(train_listens), bool)
        """(tracks,) bool: of the fewest tracks that have `HEAD_SHARE` of the listens."""
        self.is_head[order] = before < HEAD_SHARE * total
        # As if every track had been listened to once more: one without a listen is not impossible.
        self.information = -np.log2((train_listens + 1) / (total + len(train_listens)))
        """(tracks,) bits: how little a listen of this track was to be expected."""


@dataclass(frozen=True)
class Recommended:
    """Lists of tracks, taken together; what is a mean is NaN without any."""

    lists: int
    distinct_tracks: int
    coverage: float
    """Distinct tracks, of those in the catalogue."""
    gini: float
    """Of how often each track of the catalogue is in a list: 0 if all are as often, near 1 if a few
    have everything."""
    mean_log_popularity: float
    head_share: float
    """Of the listed tracks, those in the head."""
    novelty: float
    """Mean self-information of the listed tracks, bits."""

    @classmethod
    def of(cls, counts: np.ndarray, lists: int, popularity: Popularity) -> "Recommended":
        """Of (tracks,) int: how many of the lists each track is in."""
        total = int(counts.sum(dtype=np.int64))
        distinct = int(np.count_nonzero(counts))
        return cls(
            lists=lists,
            distinct_tracks=distinct,
            coverage=distinct / len(counts),
            gini=gini(counts),
            mean_log_popularity=_mean(popularity.log_listens, counts, total),
            head_share=_mean(popularity.is_head, counts, total),
            novelty=_mean(popularity.information, counts, total),
        )


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of (n,) counts: mean absolute difference of two, over twice the mean."""
    size, total = len(counts), int(counts.sum(dtype=np.int64))
    if not total:
        return np.nan
    place = 2.0 * np.arange(1, size + 1) - size - 1
    return float(place @ np.sort(counts)) / (size * total)


def _mean(values: np.ndarray, counts: np.ndarray, total: int) -> float:
    return float(values @ counts.astype(np.float64)) / total if total else np.nan
