"""Exact search: all matrix products; the oracle of the approximate one."""

from pathlib import Path
from typing import Final

import numpy as np

from cosernn_tf.retrieval.contract import Neighbours
from cosernn_tf.retrieval.pruning import QUERIES, Candidates, PrunedProduct, cores

VECTORS: Final = "vectors.npy"


class ExactSearcher:
    """Every query against every vector."""

    def __init__(self, product: PrunedProduct) -> None:
        self._product = product

    @classmethod
    def build(cls, vectors: np.ndarray) -> "ExactSearcher":
        """Copies (rows, dim) float32 `vectors`, at least one row."""
        return cls(PrunedProduct.of(vectors))

    @property
    def size(self) -> int:
        return self._product.size

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        k = min(k, self.size)
        found = Neighbours(
            np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        )
        queries = np.ascontiguousarray(queries, np.float32)
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            candidates = self._product.candidates(part, k, threads=cores())
            rows, scores = _best(candidates, len(part), k)
            found.rows[start : start + QUERIES] = rows
            found.scores[start : start + QUERIES] = scores
        return found

    def save(self, directory: Path) -> None:
        """In the layout of the search, so that it is mapped rather than read."""
        np.save(directory / VECTORS, self._product.layout)

    @classmethod
    def load(cls, directory: Path, size: int) -> "ExactSearcher":
        """Maps what `save` wrote: processes on one machine share it.

        Args:
            directory: Where it was saved.
            size: Vectors that it has.

        Raises:
            ValueError: It has another number of them, or is damaged.
        """
        # An ndarray of the mapped file: operations on its own class are slower.
        stored = np.asarray(np.load(directory / VECTORS, mmap_mode="r"))
        if stored.ndim == 2 and len(stored) == size:  # of index version 1
            return cls.build(stored)
        return cls(PrunedProduct(stored, size))


def _best(candidates: Candidates, count: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, k) rows and scores: of each query the highest, equal ones in order of the row."""
    order = np.lexsort((candidates.row, -candidates.score, candidates.query))
    ends = np.cumsum(np.bincount(candidates.query, minlength=count))
    starts = np.concatenate([[0], ends[:-1]])
    chosen = order[starts[:, None] + np.arange(k)]
    return candidates.row[chosen], candidates.score[chosen]
