"""The tracks nearest to predictions, in the form that people are given."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cosernn_tf.retrieval.track_index import TrackIndex
from cosernn_tf.serving.answers import Prediction, RankedTrack, RecommendRequest

NO_ROWS: Final = np.zeros(0, np.int64)


class Ranker:
    """Searches an index, and names what it finds."""

    def __init__(self, index: TrackIndex, track_ids: Sequence[str]) -> None:
        """`track_ids` are those of the rows that the index finds."""
        self._index = index
        self._track_ids = track_ids

    def __call__(
        self,
        requests: Sequence[RecommendRequest],
        predictions: Sequence[Prediction],
        *,
        exclude: Sequence[np.ndarray] | None,
    ) -> list[tuple[RankedTrack, ...]]:
        """What to recommend to each, by one search.

        Args:
            requests: n of them.
            predictions: One for each.
            exclude: For each the rows that are not to be found; None: all may be.
        """
        if not requests:
            return []
        found = self._index.search(
            np.stack([prediction.embedding for prediction in predictions]),
            max(request.k for request in requests),
            exclude=exclude,
        )
        return [
            self._ranked(rows[: request.k], scores[: request.k])
            for request, rows, scores in zip(requests, found.rows, found.scores, strict=True)
        ]

    def _ranked(self, rows: np.ndarray, scores: np.ndarray) -> tuple[RankedTrack, ...]:
        """Filters may leave fewer tracks than were asked for."""
        return tuple(
            RankedTrack(rank, self._track_ids[row], score)
            for rank, (row, score) in enumerate(
                zip(rows.tolist(), scores.tolist(), strict=True), start=1
            )
            if row >= 0
        )
