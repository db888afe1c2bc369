"""Scores of all models side by side, from the rows of `scores.parquet`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cosernn_tf.evaluation.user_sums import UserSums


@dataclass(frozen=True)
class AlignedScores:
    """S sessions that all models are scored on, user by user, each in time."""

    models: tuple[str, ...]
    sessions: pa.Table
    """(S,) rows of the first model: whatever is of the session, and not of the model."""
    user: np.ndarray
    """(S,) int64, ascending: equal for sessions of one user."""
    values: Mapping[str, np.ndarray]
    """By column: (models, S) float64, NaN for null."""

    def user_sums(self, columns: Sequence[str], of: np.ndarray) -> list[UserSums]:
        """Of some sessions, (S,) bool, and of users who have any: what `clusters` draws from."""
        _, user = np.unique(self.user[of], return_inverse=True)
        users = int(user.max(initial=-1)) + 1
        sums = []
        for column in columns:
            values = self.values[column][:, of]
            is_scored = ~np.isnan(values[0])
            counts = np.bincount(user[is_scored], minlength=users)
            of_models = [np.bincount(user[is_scored], row[is_scored], users) for row in values]
            sums.append(UserSums(counts, np.array(of_models)))
        return sums


def align(
    scores: pa.Table, columns: Sequence[str], *, models: Sequence[str] | None = None
) -> AlignedScores:
    """Puts the rows of all models in the same order.

    Args:
        scores: Rows of `scores.parquet`, in any order; those of a user may be anywhere.
        columns: Of numbers, that are wanted of each model.
        models: Names; None: all that there are, in the order in which they first come.

    Raises:
        ValueError: A model has no row, or another number of rows, or of sessions, than the others.
    """
    found = scores["model"].unique().to_pylist()
    names = tuple(found if models is None else models)
    users = scores["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = scores["session_start"].to_numpy()
    of_row = scores["model"].combine_chunks().dictionary_encode()
    code = {name: number for number, name in enumerate(of_row.dictionary.to_pylist())}
    values = {column: scores[column].to_numpy().astype(np.float64) for column in columns}
    orders: list[np.ndarray] = []
    for name in names:
        rows = np.flatnonzero(of_row.indices.to_numpy() == code.get(name, -1))
        rows = rows[np.lexsort((starts[rows], users[rows]))]
        first = orders[0] if orders else rows
        same = len(rows) == len(first) and all(
            np.array_equal(keys[rows], keys[first]) for keys in (users, starts)
        )
        is_repeated = (np.diff(users[rows]) == 0) & (np.diff(starts[rows]) == 0)
        if not len(rows) or not same or is_repeated.any():
            raise ValueError(
                f"{name!r} has {len(rows)} rows that are not one a session of {names[0]!r}, which "
                f"has {len(first)} (there are {found})"
            )
        orders.append(rows)
    first = orders[0] if orders else np.zeros(0, np.int64)
    return AlignedScores(
        models=names,
        sessions=scores.take(first),
        user=users[first].astype(np.int64),
        values={
            column: np.array([of_rows[rows] for rows in orders]).reshape(len(names), len(first))
            for column, of_rows in values.items()
        },
    )
