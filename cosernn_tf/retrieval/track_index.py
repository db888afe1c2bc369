"""An opened index: searched in rows of the track vocabulary, with filters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.retrieval.contract import Neighbours, Searcher
from cosernn_tf.retrieval.description import IndexDescription
from cosernn_tf.retrieval.exact import ExactSearcher
from cosernn_tf.retrieval.filters import filtered_search

_EXACT_UP_TO: Final = 20_000
"""Allowed tracks that are scored one and all rather than looked for among the others."""


class AllowedTracks:
    """Tracks that searches may find, such as those of a market; get one from `TrackIndex.allow`."""

    def __init__(self, index: "TrackIndex", mask: np.ndarray) -> None:
        if mask.shape != (index.num_rows,) or mask.dtype != np.bool_:
            raise ValueError(
                f"allowed has shape {mask.shape} and type {mask.dtype}: it must be bool, "
                f"({index.num_rows},)"
            )
        self.mask = mask
        self._index = index
        self._rows = index.rows[mask[index.rows]]
        self._searcher: ExactSearcher | None = None

    @property
    def size(self) -> int:
        """Indexed tracks that are allowed."""
        return len(self._rows)

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        """The best of the allowed ones, exactly; the first call copies their vectors."""
        if self._searcher is None:
            self._searcher = ExactSearcher.build(self._index.vectors[self._rows])
        found = self._searcher.search(queries, k)
        return Neighbours(self._rows[found.rows], found.scores)


@dataclass(frozen=True)
class TrackIndex:
    """Get one from `open_index`. Threads may search it at once."""

    description: IndexDescription
    rows: np.ndarray
    """(tracks,) int64 vocabulary row of each indexed vector, ascending."""
    searcher: Searcher
    vectors: np.ndarray
    """(vocabulary, dim) float32 track embeddings."""

    @property
    def size(self) -> int:
        """Tracks that can be found."""
        return self.searcher.size

    @property
    def num_rows(self) -> int:
        """Rows of the track vocabulary."""
        return len(self.vectors)

    def allow(self, mask: np.ndarray) -> AllowedTracks:
        """Prepares a filter that many searches use.

        Args:
            mask: (num_rows,) bool.

        Raises:
            ValueError: It has another shape or type.
        """
        return AllowedTracks(self, mask)

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        exclude: Sequence[np.ndarray] | None = None,
        allowed: np.ndarray | AllowedTracks | None = None,
    ) -> Neighbours:
        """The `min(k, size)` best rows of the vocabulary for each query.

        Args:
            queries: (n, dim) float32, unit norm.
            k: At least 1.
            exclude: For each query an int64 array of rows that it must not find, such as the tracks
                that the user has heard; negative ones and ones without an embedding do not matter.
            allowed: (num_rows,) bool, what all queries may find, or that prepared by `allow`.

        Returns:
            Where filters leave fewer, row -1 and score -inf at the end.

        Raises:
            ValueError: Another number of exclusions than of queries, or a mask of another shape.
        """
        if exclude is not None and len(exclude) != len(queries):
            raise ValueError(f"{len(exclude)} exclusions for {len(queries)} queries")
        if exclude is None and allowed is None:
            return self._search(queries, k)
        if isinstance(allowed, np.ndarray):
            allowed = self.allow(allowed)
        if allowed is not None and allowed.size == 0:
            shape = (len(queries), min(k, self.size))
            return Neighbours(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
        is_selective = allowed is not None and allowed.size <= _EXACT_UP_TO
        return filtered_search(
            allowed.search if allowed is not None and is_selective else self._search,
            queries,
            k,
            size=self.size,
            rows=self.num_rows,
            exclude=exclude,
            allowed=None if allowed is None or is_selective else allowed.mask,
            otherwise=None if allowed is None or is_selective else allowed.search,
        )

    def _search(self, queries: np.ndarray, k: int) -> Neighbours:
        found = self.searcher.search(queries, k)
        return Neighbours(self.rows[found.rows], found.scores)
