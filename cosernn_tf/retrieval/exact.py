"""Exact search: a blocked matrix product and a partial sort; the oracle of the approximate one."""

from pathlib import Path
from typing import Final

import numpy as np

from cosernn_tf.retrieval.contract import Neighbours

VECTORS: Final = "vectors.npy"

_SCORES_PER_BLOCK: Final = 16 * 1024 * 1024
"""Scores held at once, 64 MB."""


class ExactSearcher:
    """Every query against every vector."""

    def __init__(self, vectors: np.ndarray) -> None:
        """`vectors`: (rows, dim) float32."""
        self._vectors = vectors

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        k = min(k, len(self._vectors))
        block = max(1, _SCORES_PER_BLOCK // len(self._vectors))
        found = [
            _best(queries[start : start + block] @ self._vectors.T, k)
            for start in range(0, len(queries), block)
        ]
        return Neighbours(
            rows=np.concatenate([part.rows for part in found]),
            scores=np.concatenate([part.scores for part in found]),
        )

    def save(self, directory: Path) -> None:
        np.save(directory / VECTORS, self._vectors)

    @classmethod
    def load(cls, directory: Path) -> "ExactSearcher":
        return cls(np.load(directory / VECTORS, mmap_mode="r"))


def _best(scores: np.ndarray, k: int) -> Neighbours:
    """The k highest of each row of (n, rows) scores."""
    # The k-th score, not its place: of vectors that tie for it, those of the first rows are wanted.
    threshold = np.partition(scores, -k, axis=1)[:, -k, None]
    rows = np.empty((len(scores), k), np.int64)
    for query, (row_scores, least) in enumerate(zip(scores, threshold, strict=True)):
        (above,) = np.nonzero(row_scores > least)
        (equal,) = np.nonzero(row_scores == least)
        candidates = np.concatenate([above, equal[: k - len(above)]])
        rows[query] = candidates[np.lexsort((candidates, -row_scores[candidates]))]
    return Neighbours(rows, np.take_along_axis(scores, rows, axis=1).astype(np.float32))
