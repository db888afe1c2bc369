"""The metrics of §6.2, batched, with exact ties; and their list, in the order of Table 2."""

from dataclasses import dataclass
from typing import Final

import numpy as np

SESSION_SIZES: Final = (20, 50)
"""K of session ranking (§6.2.1)."""
TRACK_SIZES: Final = (25, 100)
"""K of track ranking (§6.2.2)."""
RECALL_CUTOFF: Final = 10

EQUAL_COSINES: Final = 1e-6
"""Cosines of sessions no further apart are equal.

It is a few times the rounding of float32: sessions with the same tracks in another order have the
same s⁺ on paper, but not in the last bits, and must tie.
"""


_SIGN: Final = np.uint32(1 << 31)


@dataclass(frozen=True)
class Metric:
    """A column of Table 2 and of `scores.parquet`."""

    name: str
    task: str
    k: int | None
    title: str
    higher_is_better: bool
    meaning: str


def session_rr(k: int) -> str:
    """Name of the reciprocal rank of session ranking at K."""
    return f"session_rr_{k}"


def session_rank(k: int) -> str:
    """Name of the rank of session ranking at K."""
    return f"session_rank_{k}"


def ap(k: int) -> str:
    """Name of the average precision of track ranking at K."""
    return f"ap_{k}"


def recall(k: int) -> str:
    """Name of the recall@10 of track ranking at K."""
    return f"recall{RECALL_CUTOFF}_{k}"


COSINE: Final = "cosine"
SESSION_RANKING: Final = "Session ranking"
TRACK_RANKING: Final = "Track ranking"


def _metrics() -> tuple[Metric, ...]:
    metrics = [Metric(COSINE, "", None, "Cosine", True, "of the prediction with s⁺")]
    for k in SESSION_SIZES:
        where = f"of the session among the user's {k} latest"
        metrics += [
            Metric(session_rr(k), SESSION_RANKING, k, "MRR", True, f"reciprocal rank {where}"),
            Metric(session_rank(k), SESSION_RANKING, k, "Rank", False, f"rank {where}, from 1"),
        ]
    for k in TRACK_SIZES:
        where = f"of the session's tracks among the user's {k} most recent"
        title = f"Rec@{RECALL_CUTOFF}"
        metrics += [
            Metric(ap(k), TRACK_RANKING, k, "mAP", True, f"average precision {where}"),
            Metric(recall(k), TRACK_RANKING, k, title, True, f"recall@{RECALL_CUTOFF} {where}"),
        ]
    return tuple(metrics)


METRICS: Final = _metrics()


def cosines(predictions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Cosine of each prediction with one or with K vectors.

    Every cosine is one dot product of two contiguous rows by one routine, so that identical vectors
    get identical bits wherever they stand. A matrix product would not do: it treats the rows at the
    edge of its blocks otherwise, and repeated sessions and tracks would not tie.

    Args:
        predictions: (n, dim), unit norm or zero.
        vectors: (n, dim) or (n, K, dim), unit norm or zero.

    Returns:
        (n,) or (n, K), of the arguments' type.
    """
    if vectors.ndim == 3:
        predictions = predictions[:, None, :]
    dots: np.ndarray = np.vecdot(vectors, predictions)
    return dots


def ranks(scores: np.ndarray) -> np.ndarray:
    """Rank of the first candidate among K: 1 + those higher + half of those equal (decision 11).

    Args:
        scores: (n, K) cosines, the current session's first; equal within `EQUAL_COSINES`.

    Returns:
        (n,) float64, 1 to K.
    """
    # In float64, so that the difference of two float32 is exact.
    lead = scores[:, 1:].astype(np.float64) - scores[:, :1].astype(np.float64)
    higher = np.count_nonzero(lead > EQUAL_COSINES, axis=1)
    not_lower = np.count_nonzero(lead >= -EQUAL_COSINES, axis=1)
    rank: np.ndarray = 1.0 + (higher + not_lower) / 2.0
    return rank


def rank_relevance(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """`relevant` by descending score; candidates with equal scores keep their order.

    Args:
        scores: (n, K) float32, finite.
        relevant: (n, K) bool.

    Returns:
        (n, K) bool.
    """
    # One integer a candidate: score, then place, then relevance in the lowest bit. Sorting these is
    # a stable sort by score, an order of magnitude faster than `argsort(kind="stable")`.
    keys = descending(scores).astype(np.uint64) << np.uint64(32)
    keys |= np.arange(scores.shape[1], dtype=np.uint64) << np.uint64(1)
    keys |= relevant
    keys.sort(axis=1)
    return (keys & np.uint64(1)).astype(bool)


def descending(scores: np.ndarray) -> np.ndarray:
    """Integers in the opposite order: uint32, equal for equal float32, the lower the higher."""
    bits = (scores.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
    return ~np.where(bits & _SIGN, ~bits, bits | _SIGN)


def from_descending(keys: np.ndarray) -> np.ndarray:
    """The float32 scores of such integers."""
    bits = ~keys
    return np.where(bits & _SIGN, bits ^ _SIGN, ~bits).view(np.float32)


def average_precision(ranked: np.ndarray) -> np.ndarray:
    """Mean, over the relevant candidates, of the precision at their places.

    Args:
        ranked: (n, K) bool, relevance in ranked order, at least one relevant a row.

    Returns:
        (n,) float64.
    """
    # Flat, several times faster than by row and column.
    row, column = np.divmod(np.flatnonzero(ranked), ranked.shape[1])
    count = np.bincount(row, minlength=len(ranked))
    first = np.cumsum(count) - count
    hits = np.arange(1, len(row) + 1) - first[row]
    return np.bincount(row, hits / (column + 1.0), len(ranked)) / count


def recall_at(ranked: np.ndarray, cutoff: int) -> np.ndarray:
    """Share of the relevant candidates that are among the first `cutoff`. (n, K) → (n,) float64."""
    found = np.count_nonzero(ranked[:, :cutoff], axis=1)
    share: np.ndarray = found / np.count_nonzero(ranked, axis=1)
    return share


def chance_average_precision(relevant: np.ndarray) -> np.ndarray:
    """Average precision in the mean over all orders of the candidates: what a random one reaches.

    A place has a relevant candidate with probability R / K, and a place before it then with
    (R - 1) / (K - 1). So the i-th of K adds (1 + (i - 1) (R - 1) / (K - 1)) / (i K).

    Args:
        relevant: (n, K) bool, at least one relevant a row, in any order.

    Returns:
        (n,) float64.
    """
    k = relevant.shape[1]
    harmonic = np.sum(1.0 / np.arange(1, k + 1))
    others = (np.count_nonzero(relevant, axis=1) - 1) / max(k - 1, 1)
    mean: np.ndarray = (harmonic + others * (k - harmonic)) / k
    return mean


def chance_recall(k: int, cutoff: int) -> float:
    """Recall at the cutoff in the mean over all orders of K candidates."""
    return min(cutoff, k) / k


def confusion(ranked: np.ndarray) -> np.ndarray:
    """How taking the first K, K - 1, ..., 0 candidates of each ranking classifies all of them.

    Args:
        ranked: (n, K) bool, relevance in ranked order.

    Returns:
        (4, K + 1) int64: true positives, false positives, true negatives, false negatives, summed
        over the rankings.
    """
    count, k = ranked.shape
    found = np.concatenate([[0], np.cumsum(np.count_nonzero(ranked, axis=0))])[::-1]
    taken = count * np.arange(k, -1, -1)
    missed = found[0] - found
    return np.stack([found, taken - found, count * k - taken - missed, missed])
