"""An opened index: searched in rows of the track vocabulary, with filters."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from cosernn_tf.retrieval.changes import Changes, is_among
from cosernn_tf.retrieval.contract import NO_ROW, Neighbours, Searcher
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
        self.index = index
        self.mask = mask if index.live is None else mask & index.live
        rows = index.live_rows()
        self._rows = rows[mask[rows]]
        self._searcher: ExactSearcher | None = None

    @property
    def size(self) -> int:
        """Indexed tracks that are allowed."""
        return len(self._rows)

    def search(self, queries: np.ndarray, k: int) -> Neighbours:
        """The best of the allowed ones, exactly; the first call copies their vectors."""
        if self._searcher is None:
            self._searcher = ExactSearcher.build(self.index.vectors_of(self._rows))
        found = self._searcher.search(queries, k)
        return Neighbours(self._rows[found.rows], found.scores)


class TrackIndex:
    """Get one from `open_index`. Threads may search it at once."""

    def __init__(
        self,
        description: IndexDescription,
        rows: np.ndarray,
        searcher: Searcher,
        vectors: np.ndarray,
        changes: Changes | None = None,
    ) -> None:
        """Puts together what is stored.

        Args:
            description: Of it.
            rows: (tracks,) int64 row of each vector that `searcher` has, ascending.
            searcher: Of these.
            vectors: (vocabulary, dim) float32 track embeddings.
            changes: Tracks that were added and removed since; None: none.
        """
        self.description = description
        self.rows = rows
        self.changes = changes or Changes.none()
        self._vectors = vectors
        self._searcher = searcher
        removed = self.changes.removed
        self.live: np.ndarray | None = None
        """(num_rows,) bool, False for what the searcher has, but must not find; None: nothing."""
        barred = removed[is_among(removed, rows)]
        if len(barred):
            self.live = np.ones(self.num_rows, bool)
            self.live[barred] = False
        beside = ~self.changes.is_indexed & ~is_among(self.changes.rows, removed)
        self.side_rows = self.changes.rows[beside]
        """(n,) int64 rows that are searched beside the searcher, exactly."""
        self._side = (
            ExactSearcher.build(self.changes.vectors[beside]) if len(self.side_rows) else None
        )
        self._size = len(rows) - len(barred) + len(self.side_rows)

    @property
    def size(self) -> int:
        """Tracks that can be found."""
        return self._size

    @property
    def num_rows(self) -> int:
        """Rows of the track vocabulary, and of the tracks that were added beyond it."""
        return self.changes.num_rows(len(self._vectors))

    def with_changes(self, changes: Changes) -> "TrackIndex":
        """The same searcher, with other tracks added and removed."""
        return TrackIndex(self.description, self.rows, self._searcher, self._vectors, changes)

    def live_rows(self) -> np.ndarray:
        """(size,) int64, ascending: what can be found."""
        rows = np.sort(np.concatenate([self.rows, self.side_rows]))
        return rows if self.live is None else rows[self.live[rows]]

    def track_ids(self, vocabulary: pa.ChunkedArray) -> pa.ChunkedArray:
        """The id of each row.

        Args:
            vocabulary: Ids of the track vocabulary.
        """
        beyond = self.changes.beyond(len(self._vectors)).cast(vocabulary.type)
        return pa.chunked_array([*vocabulary.chunks, beyond], vocabulary.type)

    def vectors_of(self, rows: np.ndarray) -> np.ndarray:
        """(n, dim) float32 embeddings of (n,) rows."""
        place = self.changes.place_of(rows)
        found = np.empty((len(rows), self._vectors.shape[1]), np.float32)
        found[place < 0] = self._vectors[rows[place < 0]]
        found[place >= 0] = self.changes.vectors[place[place >= 0]]
        return found

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
        """The `min(k, size)` best rows for each query.

        Args:
            queries: (n, dim) float32, unit norm.
            k: At least 1.
            exclude: For each query an int64 array of rows that it must not find, such as the tracks
                that the user has heard; ones that it does not have do not matter.
            allowed: (num_rows,) bool, what all queries may find, or that prepared by `allow`.

        Returns:
            Rows of the vocabulary, and beyond it of tracks that were added. Where filters leave
            fewer, row -1 and score -inf at the end.

        Raises:
            ValueError: Another number of exclusions than of queries, a mask of another shape, or
                one that another index has prepared.
        """
        if exclude is not None and len(exclude) != len(queries):
            raise ValueError(f"{len(exclude)} exclusions for {len(queries)} queries")
        if isinstance(allowed, np.ndarray):
            allowed = self.allow(allowed)
        elif allowed is not None and allowed.index is not self:
            raise ValueError("allowed was prepared by another index: its rows may be others")
        k = min(k, self.size)
        if exclude is None and allowed is None and self.live is None:
            return self._search(queries, k)
        if k == 0 or (allowed is not None and allowed.size == 0):
            shape = (len(queries), k)
            return Neighbours(np.full(shape, NO_ROW), np.full(shape, -np.inf, np.float32))
        if allowed is not None and allowed.size <= _EXACT_UP_TO:
            search, mask, otherwise = allowed.search, None, None
        elif allowed is not None:
            search, mask, otherwise = self._search, allowed.mask, allowed.search
        else:
            search, mask, otherwise = self._search, self.live, None
        return filtered_search(
            search,
            queries,
            k,
            size=len(self.rows) + len(self.side_rows),
            rows=self.num_rows,
            exclude=exclude,
            allowed=mask,
            otherwise=otherwise,
        )

    def _search(self, queries: np.ndarray, k: int) -> Neighbours:
        """Also finds what is not live."""
        found = self._searcher.search(queries, k)
        found = Neighbours(self.rows[found.rows], found.scores)
        if self._side is None:
            return found
        beside = self._side.search(queries, k)
        rows = np.concatenate([found.rows, self.side_rows[beside.rows]], axis=1)
        scores = np.concatenate([found.scores, beside.scores], axis=1)
        order = np.lexsort((rows, -scores))[:, :k]
        return Neighbours(
            np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)
        )
