"""Matrix products over a whole catalogue, of which only what may be among the k best is kept.

Sorting, or even partitioning, a million scores costs many times the matrix product. But the k best
scores lie in the k groups with the best maxima, and maxima are quick to compute where the members
of a group are neighbours in memory, and while they still are in the cache. So the catalogue is
taken a few blocks at a time; what is no better than the k best maxima so far is dropped at once.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

COLUMNS: Final = 64
"""Vectors in a matrix product, with `QUERIES` and 40 dimensions: small enough that BLAS takes it in
the calling thread. Its own threads wait for each other in a loop, which several callers, or other
processes, make many times as expensive as the product."""
QUERIES: Final = 64
"""That are best searched at once."""

_GROUP: Final = 16
"""Vectors that are ruled out at once, by the highest score among them."""
_BLOCK: Final = _GROUP * COLUMNS
_SCORES_AT_ONCE: Final = 512 * 1024
"""That are held, 2 MB: of few queries those of more blocks, since each step has its price."""
_BLOCKS_PER_THREAD: Final = 64
"""Fewer are not worth a thread."""
_LOWEST: Final = np.finfo(np.float32).min
"""Less than any score, and more than what stands for no vector."""


@dataclass(frozen=True)
class Candidates:
    """Pairs of a query and a row of the vectors, in order of the query; fields are (pairs,)."""

    query: np.ndarray
    row: np.ndarray
    score: np.ndarray
    """float32, as the matrix product has it."""


class PrunedProduct:
    """Scores of queries with all vectors."""

    def __init__(self, layout: np.ndarray, size: int, *, blocks_at_once: int | None = None) -> None:
        """Get one from `of`, or with the `layout` and `size` of another.

        Args:
            layout: See the attribute.
            size: Vectors in it.
            blocks_at_once: Blocks of 1,024 vectors that are taken at once; by default as many as
                have `_SCORES_AT_ONCE`.

        Raises:
            ValueError: The two do not fit.
        """
        blocks = -(-size // _BLOCK)
        if layout.ndim != 4 or layout.shape[:2] + layout.shape[3:] != (blocks, _GROUP, COLUMNS):
            raise ValueError(f"vectors of shape {layout.shape}, for {size} of them")
        self.layout = layout
        """(block, place in the group, dim, group) float32: column c of all products of a block is a
        group, so that what is compared stands side by side."""
        self.size = size
        self._blocks_at_once = blocks_at_once
        is_vector = np.arange((blocks - 1) * _BLOCK, blocks * _BLOCK) < size
        last = np.where(is_vector, np.float32(0), np.float32(-np.inf))
        self._last = last.reshape(_GROUP, 1, COLUMNS)
        """What the scores of the last block are added to."""

    @classmethod
    def of(cls, vectors: np.ndarray, *, blocks_at_once: int | None = None) -> "PrunedProduct":
        """Copies (rows, dim) float32 `vectors`, at least one, into another layout."""
        rows, dim = vectors.shape
        blocks = -(-rows // _BLOCK)
        padded = np.zeros((blocks * _BLOCK, dim), np.float32)
        padded[:rows] = vectors
        by_column = padded.reshape(blocks, _GROUP, COLUMNS, dim).swapaxes(2, 3)
        return cls(np.ascontiguousarray(by_column), rows, blocks_at_once=blocks_at_once)

    def candidates(
        self, queries: np.ndarray, k: int, *, margin: np.float32 | float = 0.0, threads: int = 1
    ) -> Candidates:
        """What may be among the k best of each query: all that score as the k-th or higher.

        Args:
            queries: (n, dim) float32, best `QUERIES` at most.
            k: At most `size`.
            margin: By how much a score may be too low.
            threads: At most; each takes a part of the catalogue.
        """
        blocks = len(self.layout)
        parts = min(threads, max(1, blocks // _BLOCKS_PER_THREAD))
        each = math.ceil(blocks / parts)
        bounds = [(start, min(start + each, blocks)) for start in range(0, blocks, each)]

        def search(bound: tuple[int, int]) -> tuple[np.ndarray, list[Candidates]]:
            return self._candidates(queries, k, *bound, margin=margin)

        if len(bounds) == 1:
            found = [search(bounds[0])]
        else:
            with ThreadPoolExecutor(len(bounds)) as pool:
                found = list(pool.map(search, bounds))
        least = np.max([bound for bound, _ in found], axis=0)
        return _joined([part for _, some in found for part in some], least)

    def _candidates(
        self, queries: np.ndarray, k: int, first: int, end: int, *, margin: np.float32 | float
    ) -> tuple[np.ndarray, list[Candidates]]:
        """Of some blocks: the score from which on rows matter, and candidates."""
        # The k best maxima of groups so far: the least of them is no more than the k-th best score.
        best = np.full((len(queries), k), -np.inf, np.float32)
        least = np.full(len(queries), _LOWEST)
        parts = []
        step = self._blocks_at_once or max(1, _SCORES_AT_ONCE // (_BLOCK * max(1, len(queries))))
        for start in range(first, end, step):
            scores = self._scores(queries, start, min(start + step, end))
            maxima = scores.max(axis=1).swapaxes(0, 1).reshape(len(queries), -1)
            best = np.concatenate([best, maxima], axis=1)
            best = np.partition(best, best.shape[1] - k, axis=1)[:, -k:]
            least = np.maximum(best[:, 0] - np.float32(margin), _LOWEST)
            # Flat, several times faster than by row and column.
            query, group = np.divmod(np.flatnonzero(maxima >= least[:, None]), maxima.shape[1])
            block, column = np.divmod(group, COLUMNS)
            members = scores[block, :, query, column]
            of, place = np.divmod(np.flatnonzero(members >= least[query, None]), _GROUP)
            rows = ((start + block[of]) * _GROUP + place) * COLUMNS + column[of]
            parts.append(Candidates(query[of], rows, members[of, place]))
        return least, parts

    def _scores(self, queries: np.ndarray, start: int, end: int) -> np.ndarray:
        """(blocks, group, n, columns) of some blocks; -inf where there is no vector."""
        scores = np.matmul(queries, self.layout[start:end])
        if end == len(self.layout):
            scores[-1] += self._last
        return scores


def _joined(parts: list[Candidates], least: np.ndarray) -> Candidates:
    """Those of all parts that score at least so much, in order of the query."""
    query = np.concatenate([part.query for part in parts])
    score = np.concatenate([part.score for part in parts])
    (kept,) = np.nonzero(score >= least[query])
    kept = kept[np.argsort(query[kept], kind="stable")]
    row = np.concatenate([part.row for part in parts])
    return Candidates(query[kept], row[kept], score[kept])


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0))
