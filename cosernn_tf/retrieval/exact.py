"""Exact search: a matrix product and a selection by groups; the oracle of the approximate one."""

from pathlib import Path
from typing import Final

import numpy as np

from cosernn_tf.retrieval.contract import Neighbours

VECTORS: Final = "vectors.npy"

_SCORES_PER_BLOCK: Final = 16 * 1024 * 1024
"""Scores held at once, 64 MB."""

_GROUP: Final = 32
"""Neighbouring vectors that are ruled out at once, by the highest score among them."""


class ExactSearcher:
    """Every query against every vector.

    Sorting, or even partitioning, a million scores costs ten times the matrix product. But the k
    best scores lie in the k groups with the best maxima, and maxima are quick to compute where the
    i-th members of all groups are neighbours in memory. The vectors are therefore kept as (dim,
    place in the group, group), padded to whole groups.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        """`vectors`: (rows, dim) float32, at least one row."""
        self._rows, dim = vectors.shape
        groups = -(-self._rows // _GROUP)
        padded = np.zeros((groups * _GROUP, dim), np.float32)
        padded[: self._rows] = vectors
        by_group = padded.reshape(groups, _GROUP, dim)
        self._vectors = np.ascontiguousarray(by_group.transpose(2, 1, 0))

    @property
    def size(self) -> int:
        return self._rows

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        dim, _, groups = self._vectors.shape
        k = min(k, self._rows)
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        block = max(1, min(len(queries), _SCORES_PER_BLOCK // (groups * _GROUP)))
        # One buffer for all blocks: the first touch of fresh memory costs as much as the product.
        buffer = np.empty((block, groups * _GROUP), np.float32)
        for start in range(0, len(queries), block):
            part = slice(start, min(start + block, len(queries)))
            product = buffer[: part.stop - start]
            np.matmul(queries[part], self._vectors.reshape(dim, -1), out=product)
            rows[part], scores[part] = self._best(product.reshape(-1, _GROUP, groups), k)
        return Neighbours(rows, scores)

    def _best(self, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and scores of the k best of (n, place in the group, group) scores."""
        groups = scores.shape[2]
        padding = groups * _GROUP - self._rows
        scores[:, _GROUP - padding :, -1] = -np.inf
        # A vector outside of these groups is beaten by k others: by the best of each of them, which
        # has a higher score, or the same one and a lower row. In ascending order, a stable sort of
        # their members then keeps equal scores in order of the row.
        chosen = np.sort(_highest(scores.max(axis=1), min(k, groups)), axis=1)
        members = np.take_along_axis(scores, chosen[:, None, :], axis=2)
        members = members.transpose(0, 2, 1).reshape(len(scores), -1)
        rows = (chosen[:, :, None] * _GROUP + np.arange(_GROUP)).reshape(len(scores), -1)
        best = _highest(members, k)
        return np.take_along_axis(rows, best, axis=1), np.take_along_axis(members, best, axis=1)

    def save(self, directory: Path) -> None:
        dim = len(self._vectors)
        vectors = self._vectors.transpose(2, 1, 0).reshape(-1, dim)
        np.save(directory / VECTORS, vectors[: self._rows])

    @classmethod
    def load(cls, directory: Path) -> "ExactSearcher":
        return cls(np.load(directory / VECTORS))


def _highest(values: np.ndarray, k: int) -> np.ndarray:
    """(n, k) columns of the k highest of (n, m) values, highest first, equal ones in order."""
    size = values.shape[1]
    groups = -(-size // _GROUP)
    if groups <= 2 * k:
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    # By groups again, of neighbours this time, for the same reason.
    padding = ((0, 0), (0, groups * _GROUP - size))
    grouped = np.pad(values, padding, constant_values=-np.inf).reshape(-1, groups, _GROUP)
    chosen = np.sort(_highest(grouped.max(axis=2), k), axis=1)
    members = np.take_along_axis(grouped, chosen[:, :, None], axis=1).reshape(len(values), -1)
    best = np.argsort(-members, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(chosen, best // _GROUP, axis=1) * _GROUP + best % _GROUP
