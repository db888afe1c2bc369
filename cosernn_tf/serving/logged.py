"""The session sequences of the workspace, as a past that users' records are carried over."""

from collections.abc import Iterator

import numpy as np

from cosernn_tf.schema import SESSION_GAP_SECONDS, age_bucket
from cosernn_tf.serving.carrier import USERS_AT_ONCE, Carrier, Contents, Starts, embedded
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory


def gap_of(sessions: SessionsDirectory) -> int:
    """Seconds of inactivity that separate two sessions, as these were made."""
    return int(sessions.manifest.options.get("session_gap_seconds", SESSION_GAP_SECONDS))


def ends(table: SessionTable) -> np.ndarray:
    """(S,) UTC seconds at which each session ended.

    Sessions are stored with the time since the end of the one before, so a session after it gives
    its end exactly. The end of a user's very last session is not stored: it is estimated from its
    number of listens and the seconds a listen took in the user's earlier sessions, or is its start
    if there is none.
    """
    found = table.session_start.copy()
    found[:-1] = table.session_start[1:] - table.seconds_since_last[1:]
    (users,) = np.nonzero(np.diff(table.row_splits))
    first, last = table.row_splits[users], table.row_splits[users + 1] - 1
    # The sums over a user's sessions but the last.
    seconds, listens = found - table.session_start, table.num_tracks
    sums = [np.concatenate([[0], np.cumsum(v)]) for v in (seconds, listens)]
    took, heard = (total[last] - total[first] for total in sums)
    estimate = table.num_tracks[last] * took / np.maximum(1, heard)
    found[last] = (table.session_start[last] + estimate).astype(np.int64)
    return found


def in_parts(table: SessionTable, *, at_most: int = USERS_AT_ONCE) -> Iterator[SessionTable]:
    """The table in parts of so few users that their records fit into memory."""
    size = min(at_most, USERS_AT_ONCE)
    for start in range(0, table.num_users, size):
        yield table.select_users(np.arange(start, min(start + size, table.num_users)))


class LoggedSessions:
    """Sessions of users, in a form to carry records over."""

    def __init__(self, table: SessionTable, vectors: np.ndarray, *, gap_seconds: int) -> None:
        """`vectors`: (tracks, dim), of the track vocabulary."""
        self.table = table
        self._starts = Starts(
            table.day_of_week,
            table.hour,
            table.device,
            table.stream_source,
            table.seconds_since_last,
        )
        end = ends(table)
        self._contents = Contents(
            embedded(table, vectors), table.num_tracks, table.stream_source, end, end + gap_seconds
        )

    def new(self, carrier: Carrier) -> np.ndarray:
        """(U,) records of the users, before their first sessions."""
        records = carrier.new(self.table.num_users)
        records["age_bucket"] = age_bucket(self.table.user_age)
        return records

    def number_before(self, second: int | None) -> np.ndarray:
        """(U,) sessions of each user that start before a UTC second; None: all."""
        splits = self.table.row_splits
        if second is None:
            return np.diff(splits)
        is_before = np.concatenate([[0], np.cumsum(self.table.session_start < second)])
        return np.asarray(np.diff(is_before[splits]))

    def carry(
        self, carrier: Carrier, records: np.ndarray, first: np.ndarray, end: np.ndarray
    ) -> None:
        """Carries the records over each user's sessions `first`..`end` - 1, in place.

        Args:
            carrier: Steps the model.
            records: (U,), as they are before session `first`.
            first: (U,) numbers, from 0.
            end: (U,).
        """
        # Those with the most to go first, so that the users of a step are a slice.
        order = np.argsort(first - end, kind="stable")
        length = np.maximum(end - first, 0)[order]
        row = (self.table.row_splits[:-1] + first)[order]
        users = self.table.user_id[order]
        carried = records[order]
        for number in range(length.max(initial=0)):
            active = slice(0, int(np.searchsorted(-length, -number)))
            sessions = row[active] + number
            state = carrier.stepped(carried[active], users[active], self._starts.take(sessions))
            carrier.close(carried[active], state, self._contents.take(sessions))
        records[order] = carried

    def heard(self, number: np.ndarray) -> list[np.ndarray]:
        """Of each user, the distinct known tracks of the first so many sessions, as kept there."""
        starts = self.table.row_splits[:-1].tolist()
        found = []
        for start, sessions in zip(starts, number.tolist(), strict=True):
            rows = np.unique(self.table.track[start : start + sessions])
            found.append(rows[rows >= 0].astype(np.int32))
        return found
