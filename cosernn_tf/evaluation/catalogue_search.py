"""Exact search over a whole catalogue for many queries, with exact ties.

`retrieval.exact` answers a few queries at a time. Here are hundreds of thousands, and equal vectors
must get equal scores wherever they stand, which no matrix product promises (`metrics.cosines`). So
a matrix product only rules out what cannot be among the best; what is left is scored by `cosines`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.evaluation import metrics

QUERIES: Final = 64
"""That are best searched at once."""

_GROUP: Final = 16
"""Vectors that are ruled out at once, by the highest score among them."""
_COLUMNS: Final = 64
"""Vectors in a matrix product, with `QUERIES` and 40 dimensions: small enough that BLAS takes it in
the calling thread. Its own threads wait for each other in a loop, which several callers, or other
processes, make many times as expensive as the product."""
_BLOCK: Final = _GROUP * _COLUMNS
_BLOCKS_AT_ONCE: Final = 32
"""Blocks whose scores are held at once: 8 MB."""

_ROUNDING: Final = 2.0**-24
"""Relative, of an operation in float32."""
_LOWEST: Final = np.float32(-2.0)
"""Less than any cosine, and more than what stands for no vector."""


@dataclass(frozen=True)
class Best:
    """What may be among the k best of n queries: at least k, and all that equal the k-th."""

    rows: np.ndarray
    """(n, width) int64 rows of the vectors, by descending score, equal ones in order of the row."""
    scores: np.ndarray
    """(n, width) float32; -inf where there are no more."""


class CatalogueSearch:
    """Cosines of queries with all vectors."""

    def __init__(self, vectors: np.ndarray, *, blocks_at_once: int = _BLOCKS_AT_ONCE) -> None:
        """Keeps a second copy of the vectors, in another layout.

        Args:
            vectors: (rows, dim) float32, unit norm, at least one.
            blocks_at_once: Blocks of 1,024 vectors whose scores are held at once.
        """
        self._vectors = vectors
        self._blocks_at_once = blocks_at_once
        rows, dim = vectors.shape
        blocks = -(-rows // _BLOCK)
        padded = np.zeros((blocks * _BLOCK, dim), np.float32)
        padded[:rows] = vectors
        # Column c of all products of a block is a group: what is compared stands side by side.
        by_column = padded.reshape(blocks, _GROUP, _COLUMNS, dim).swapaxes(2, 3)
        self._by_column = np.ascontiguousarray(by_column)
        is_vector = np.arange((blocks - 1) * _BLOCK, blocks * _BLOCK) < rows
        last = np.where(is_vector, np.float32(0), np.float32(-np.inf))
        self._last = last.reshape(_GROUP, 1, _COLUMNS)
        """What the scores of the last block are added to."""
        # A sum of `dim` products of unit vectors is no further from the exact one, in any order: so
        # the k-th score by one way and by the other are at most twice that apart, and so again is
        # what is compared with it.
        self._margin = np.float32(4 * 1.1 * dim * _ROUNDING)

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
        query, row = self._candidates(queries, min(k, self.size))
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

    def _candidates(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a query and a row that may be among its k best, in order of the query."""
        # The k best maxima of groups so far: the least of them is no more than the k-th best score.
        best = np.full((len(queries), k), -np.inf, np.float32)
        parts = []
        for start in range(0, len(self._by_column), self._blocks_at_once):
            scores = self._scores(queries, start)
            maxima = scores.max(axis=1).swapaxes(0, 1).reshape(len(queries), -1)
            best = np.concatenate([best, maxima], axis=1)
            best = np.partition(best, best.shape[1] - k, axis=1)[:, -k:]
            least = np.maximum(best[:, 0] - self._margin, _LOWEST)
            # Flat, several times faster than by row and column.
            query, group = np.divmod(np.flatnonzero(maxima >= least[:, None]), maxima.shape[1])
            block, column = np.divmod(group, _COLUMNS)
            members = scores[block, :, query, column]
            of, place = np.divmod(np.flatnonzero(members >= least[query, None]), _GROUP)
            rows = ((start + block[of]) * _GROUP + place) * _COLUMNS + column[of]
            parts.append((query[of], rows, members[of, place]))
        if len(parts) == 1:
            return parts[0][:2]
        query, rows, found = (np.concatenate(part) for part in zip(*parts, strict=True))
        (kept,) = np.nonzero(found >= least[query])
        kept = kept[np.argsort(query[kept], kind="stable")]
        return query[kept], rows[kept]

    def _scores(self, queries: np.ndarray, start: int) -> np.ndarray:
        """(blocks, group, n, columns) of some blocks; -inf where there is no vector."""
        blocks = self._by_column[start : start + self._blocks_at_once]
        scores = np.matmul(queries, blocks)
        if start + len(blocks) == len(self._by_column):
            scores[-1] += self._last
        return scores
