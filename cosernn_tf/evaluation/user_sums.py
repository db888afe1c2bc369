"""Each user's number of scored sessions and sums of scores, gathered block by block.

They are all that tests with users as clusters need: 8 bytes a user, model and metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class UserSums:
    """What is known of each user's scores by one metric."""

    counts: np.ndarray
    """(users,) int64: sessions scored, the same of every model."""
    sums: np.ndarray
    """(models, users) float64: of their scores."""


class UserSumsBuilder:
    """Gathers the sums of blocks of whole users, in whatever order users come."""

    def __init__(self, models: Sequence[str], metrics: Sequence[str]) -> None:
        self._models = models
        self._metrics = metrics
        self._users: list[pa.Array] = []
        self._counts: list[np.ndarray] = []
        self._sums: list[np.ndarray] = []

    def add(
        self,
        users: pa.Array,
        user_of_session: np.ndarray,
        scores: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:
        """Adds a block of users.

        Args:
            users: Ids, each in one block only.
            user_of_session: (sessions,) int64 place in `users`; a user's sessions in time order.
            scores: By model and metric, (sessions,) float64; NaN where a session is not scored.
        """
        counts = np.empty((len(self._metrics), len(users)), np.int64)
        sums = np.empty((len(self._metrics), len(self._models), len(users)))
        for row, metric in enumerate(self._metrics):
            is_scored = ~np.isnan(scores[self._models[0]][metric])
            places = user_of_session[is_scored]
            counts[row] = np.bincount(places, minlength=len(users))
            for column, model in enumerate(self._models):
                values = scores[model][metric][is_scored]
                sums[row, column] = np.bincount(places, values, len(users))
        self._users.append(users.cast(pa.large_string()))
        self._counts.append(counts)
        self._sums.append(sums)

    def build(self) -> dict[str, UserSums]:
        """By metric, users in the order of their ids.

        Raises:
            ValueError: A user has been in more than one block.
        """
        users = pa.chunked_array(self._users, pa.large_string())
        order = pc.sort_indices(users).to_numpy()
        if pc.count_distinct(users).as_py() < len(users):
            raise ValueError("a user's sessions came in more than one block")
        return {
            metric: UserSums(
                _concatenated([counts[row] for counts in self._counts], (0,))[order],
                _concatenated([sums[row] for sums in self._sums], (len(self._models), 0))[:, order],
            )
            for row, metric in enumerate(self._metrics)
        }


def _concatenated(parts: Sequence[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    """Along the last axis."""
    return np.concatenate(parts, axis=-1) if parts else np.zeros(empty)
