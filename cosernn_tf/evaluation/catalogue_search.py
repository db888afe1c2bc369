"""Exact search over a whole catalogue for many queries, with exact ties.

Here, unlike in `retrieval.exact`, equal vectors must get equal scores wherever they stand, which no
matrix product promises (`metrics.cosines`). So a matrix product only rules out what cannot be among
the best; what is left is scored by `cosines`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.evaluation import metrics
from cosernn_tf.retrieval.pruning import PrunedProduct

_ROUNDING: Final = 2.0**-24
"""Relative, of an operation in float32."""


@dataclass(frozen=True)
class Best:
    """What may be among the k best of n queries: at least k, and all that equal the k-th."""

    rows: np.ndarray
    """(n, width) int64 rows of the vectors, by descending score, equal ones in order of the row."""
    scores: np.ndarray
    """(n, width) float32; -inf where there are no more."""


class CatalogueSearch:
    """Cosines of queries with all vectors."""

    def __init__(self, vectors: np.ndarray, *, blocks_at_once: int | None = None) -> None:
        """Keeps a second copy of the vectors, in another layout.

        Args:
            vectors: (rows, dim) float32, unit norm, at least one.
            blocks_at_once: See `PrunedProduct`.
        """
        self._vectors = vectors
        self._product = PrunedProduct.of(vectors, blocks_at_once=blocks_at_once)
        # A sum of `dim` products of unit vectors is no further from the exact one, in any order: so
        # the k-th score by one way and by the other are at most twice that apart, and so again is
        # what is compared with it.
        self._margin = np.float32(4 * 1.1 * vectors.shape[1] * _ROUNDING)

    @property
    def size(self) -> int:
        """Vectors."""
        return len(self._vectors)

    def best(self, queries: np.ndarray, k: int) -> Best:
        """The `min(k, size)` best of each query, and those equal to the last of them.

        Args:
            queries: (n, dim) float32, unit norm.
            k: At least 1.
        """
        found = self._product.candidates(queries, min(k, self.size), margin=self._margin)
        query, row = found.query, found.row
        count = np.bincount(query, minlength=len(queries))
        place = np.arange(len(query)) - (np.cumsum(count) - count)[query]
        rows = np.zeros((len(queries), int(count.max(initial=1))), np.int64)
        rows[query, place] = row
        scores = metrics.cosines(queries, self._vectors[rows])
        scores[np.arange(rows.shape[1]) >= count[:, None]] = -np.inf
        # One integer: score, then row.
        keys = metrics.descending(scores).astype(np.uint64) << np.uint64(32)
        keys |= rows.astype(np.uint64)
        keys.sort(axis=1)
        return Best(
            rows=(keys & np.uint64(0xFFFFFFFF)).astype(np.int64),
            scores=metrics.from_descending((keys >> np.uint64(32)).astype(np.uint32)),
        )
