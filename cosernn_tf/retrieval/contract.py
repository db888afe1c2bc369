"""The contract of exact and approximate search."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np

NO_ROW: Final = -1
"""Stands, with a score of -inf, where filters leave fewer neighbours than were asked for."""


@dataclass(frozen=True)
class Neighbours:
    """The k best rows of n queries, best first; equal scores in order of the row."""

    rows: np.ndarray
    """(n, k) int64, of the indexed vectors; `NO_ROW` at the end where there are fewer."""
    scores: np.ndarray
    """(n, k) float32 dot products; cosines, as all vectors have unit norm."""


class Searcher(Protocol):
    """Searches indexed vectors by dot product."""

    @property
    def size(self) -> int:
        """Vectors indexed."""
        ...

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        """The `min(k, vectors)` best rows for each of (n, dim) float32 queries; n may be 0."""
        ...

    def save(self, directory: Path) -> None:
        """Writes into an existing directory, from where it loads in another process."""
        ...


def recall(found: Neighbours, exact: Neighbours) -> float:
    """Mean share of the exact neighbours' rows that were found, over at least one query."""
    shares = [
        len(np.intersect1d(row, truth, assume_unique=True)) / len(truth)
        for row, truth in zip(found.rows, exact.rows, strict=True)
    ]
    return float(np.mean(shares))
