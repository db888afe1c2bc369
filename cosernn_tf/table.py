"""Session sequences in memory: columns over all sessions, with the users' row splits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np

from cosernn_tf.schema import SESSION_FEATURES, Per


@dataclass(frozen=True)
class SessionTable:
    """Sessions of U users, S in all, each user's consecutive and in time order.

    The fields but `row_splits` are the features of `schema.SESSION_FEATURES`, which gives their
    meaning; shapes here are over all users: U per user, S per session, (S, 10) per track.
    """

    row_splits: np.ndarray
    """(U + 1,) int64: sessions `row_splits[i]:row_splits[i + 1]` are user i's."""

    user_id: np.ndarray
    """(U,) object: bytes."""
    user_age: np.ndarray
    session_start: np.ndarray
    day_of_week: np.ndarray
    hour: np.ndarray
    device: np.ndarray
    stream_source: np.ndarray
    num_tracks: np.ndarray
    seconds_since_last: np.ndarray
    track: np.ndarray
    skipped: np.ndarray

    @property
    def num_users(self) -> int:
        return len(self.user_id)

    @property
    def num_sessions(self) -> int:
        return len(self.session_start)

    @property
    def user_of_session(self) -> np.ndarray:
        """(S,) int64 row of each session's user."""
        return np.repeat(np.arange(self.num_users), np.diff(self.row_splits))

    @property
    def position(self) -> np.ndarray:
        """(S,) int64 number of earlier sessions of the same user (t - 1 in the paper)."""
        return np.arange(self.num_sessions) - self.row_splits[self.user_of_session]

    def starts_within(self, first: int, before: int | None) -> np.ndarray:
        """(S,) bool: starts in [first, before), UTC seconds; None: up to the last."""
        mask: np.ndarray = self.session_start >= first
        return mask if before is None else mask & (self.session_start < before)

    def select_users(self, users: np.ndarray) -> "SessionTable":
        """The table of the given users (rows, int64), in that order."""
        lengths = np.diff(self.row_splits)[users]
        splits = np.concatenate([[0], np.cumsum(lengths)])
        sessions = np.arange(splits[-1]) + np.repeat(
            self.row_splits[:-1][users] - splits[:-1], lengths
        )
        columns = {
            feature.name: getattr(self, feature.name)[
                users if feature.per is Per.USER else sessions
            ]
            for feature in SESSION_FEATURES
        }
        return SessionTable(row_splits=splits, **columns)

    def starting_before(self, time: int) -> "SessionTable":
        """The sessions that start before `time` (UTC seconds), and the users who have any."""
        kept = self.session_start < time
        lengths = np.bincount(self.user_of_session[kept], minlength=self.num_users)
        users = lengths > 0
        columns = {
            feature.name: getattr(self, feature.name)[users if feature.per is Per.USER else kept]
            for feature in SESSION_FEATURES
        }
        return SessionTable(row_splits=np.concatenate([[0], np.cumsum(lengths[users])]), **columns)


def concatenate(tables: Sequence[SessionTable]) -> SessionTable:
    """One table of all the users of `tables`, one or more, in order."""
    splits = [np.zeros(1, np.int64)]
    num_sessions = 0
    for table in tables:
        splits.append(table.row_splits[1:] + num_sessions)
        num_sessions += table.num_sessions
    columns = {
        field.name: np.concatenate([getattr(table, field.name) for table in tables])
        for field in fields(SessionTable)
        if field.name != "row_splits"
    }
    return SessionTable(row_splits=np.concatenate(splits), **columns)


def extend(older: SessionTable, newer: SessionTable) -> SessionTable:
    """The users of `newer`, each with the sessions of `older` that start before their first there.

    Every user of `older` is in `newer`, and every user of `newer` has a session.
    """
    row_of_user = {user: row for row, user in enumerate(newer.user_id.tolist())}
    rows = np.array([row_of_user[user] for user in older.user_id.tolist()], np.int64)
    user = rows[older.user_of_session]
    first_start = newer.session_start[newer.row_splits[:-1]]
    (kept,) = np.nonzero(older.session_start < first_start[user])
    user = np.concatenate([user[kept], newer.user_of_session])
    order = np.argsort(user, kind="stable")
    columns = {}
    for feature in SESSION_FEATURES:
        values = getattr(newer, feature.name)
        if feature.per is not Per.USER:
            values = np.concatenate([getattr(older, feature.name)[kept], values])[order]
        columns[feature.name] = values
    lengths = np.bincount(user, minlength=newer.num_users)
    return SessionTable(row_splits=np.concatenate([[0], np.cumsum(lengths)]), **columns)


def in_blocks(tables: Iterable[SessionTable], *, max_sessions: int) -> Iterator[SessionTable]:
    """The users of `tables`, in order, regrouped in tables of at most `max_sessions` sessions.

    A user with more sessions than that has a table alone.
    """
    pending: list[SessionTable] = []
    for table in tables:
        for part in _parts(table, max_sessions):
            if pending and sum(t.num_sessions for t in (*pending, part)) > max_sessions:
                yield concatenate(pending)
                pending = []
            pending.append(part)
    if pending:
        yield concatenate(pending)


def _parts(table: SessionTable, max_sessions: int) -> Iterator[SessionTable]:
    """Runs of users that have at most `max_sessions` sessions, or one user."""
    start = 0
    while start < table.num_users:
        limit = table.row_splits[start] + max_sessions
        end = max(start + 1, int(np.searchsorted(table.row_splits, limit, side="right")) - 1)
        yield table.select_users(np.arange(start, end))
        start = end
