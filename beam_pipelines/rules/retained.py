"""Listens that a run keeps for a later one, which adds newer listens (`--append`).

A user is reopened at the first session that starts in the validation or test split, and at the
latest at the last session. The sessions before are frozen: they are training for ever, since the
boundaries of the splits only move on, and nothing that is listened to later changes them. The
listens from there on are retained, so that newer ones can join them exactly.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.buckets import bucket_numbers
from beam_pipelines.rules.checks import CLEAN_SCHEMA
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, to_bytes
from cosernn_tf.schema import AGE_UNKNOWN
from cosernn_tf.sessions import NULL, Sessions
from cosernn_tf.table import SessionTable

RETAINED_SCHEMA: Final = pa.schema(
    [
        *CLEAN_SCHEMA,
        pa.field("user_age", pa.int64(), nullable=False),
        pa.field("previous_end", pa.int64(), nullable=False),
    ]
)
"""Clean listens in order, without duplicates; of each user also the age, and when the last of the
frozen sessions ended, UTC seconds, `NULL` where none is frozen."""

_ROWS_AT_ONCE: Final = 2**16


def first_reopened(table: SessionTable, validation_start: int) -> np.ndarray:
    """(U,) int64 row of the first session of each user that is not frozen."""
    first_of_user = table.row_splits[:-1]
    if not len(first_of_user):
        return first_of_user
    later = table.session_start >= validation_start
    return table.row_splits[1:] - np.maximum(np.add.reduceat(later, first_of_user), 1)


def retain(
    sessions: Sessions,
    validation_start: int,
    *,
    track_id: pa.Array,
    stream_source: pa.Array,
    previous_end: np.ndarray,
) -> pa.Table:
    """The listens of `RETAINED_SCHEMA`.

    Args:
        sessions: Of all listens, or of those since each user was reopened the last time.
        validation_start: UTC seconds.
        track_id: What the codes of tracks stand for.
        stream_source: What the codes of stream sources stand for.
        previous_end: (U,) as `cosernn_tf.sessions.sessionize` was given it.
    """
    table, listens = sessions.table, sessions.listens
    first = first_reopened(table, validation_start)
    end_before = table.session_start[first] - table.seconds_since_last[first]
    is_first = first == table.row_splits[:-1]
    end_before = np.where(is_first, previous_end, end_before)
    (kept,) = np.nonzero(sessions.session_of_listen >= first[listens.user])
    listens = listens.take(kept)
    user_id = pa.array(table.user_id.tolist(), pa.binary()).cast(pa.string())
    source = pa.array(listens.stream_source, mask=listens.stream_source == NULL)
    columns = {
        **{name: getattr(listens, name, None) for name in CLEAN_SCHEMA.names},
        "user_id": user_id.take(pa.array(listens.user)),
        "track_id": track_id.take(pa.array(listens.track)),
        "stream_source": stream_source.take(source),
        "user_age": table.user_age[listens.user],
        "previous_end": end_before[listens.user],
    }
    return pa.table(columns).select(RETAINED_SCHEMA.names).cast(RETAINED_SCHEMA)


@dataclass(frozen=True)
class RetainedParts:
    """What a bucket retains, put away in parts."""

    listens_of_user: np.ndarray
    """(users,) int64, of the users in order: how many each has."""
    parts: tuple[Part, ...]
    """Arrow IPC of `RETAINED_SCHEMA`, some rows after the others."""

    @classmethod
    def of(cls, listens: pa.Table, spill: Spill) -> "RetainedParts":
        ends = pc.run_end_encode(listens["user_id"].combine_chunks()).run_ends.to_numpy()
        slices = (
            listens.slice(start, _ROWS_AT_ONCE)
            for start in range(0, listens.num_rows, _ROWS_AT_ONCE)
        )
        return cls(np.diff(ends, prepend=0), tuple(spill.put(map(to_bytes, slices))))


def retained_in_order(
    buckets: Sequence[RetainedParts], owners: np.ndarray, *, rows_at_once: int
) -> Iterator[pa.Table]:
    """What all buckets retain in the order of the users, in tables of whole users.

    Where a table ends does not depend on the buckets.

    Args:
        buckets: Each of its own users.
        owners: (users of all,) the bucket of each user, the users in order.
        rows_at_once: About so many are in a table.
    """
    counts = np.empty(len(owners), np.int64)
    for number, bucket in enumerate(buckets):
        counts[owners == number] = bucket.listens_of_user
    left = [_Reader(bucket.parts) for bucket in buckets]
    first = np.cumsum(counts) - counts
    tables = first // rows_at_once
    for users in np.split(np.arange(len(owners)), np.flatnonzero(np.diff(tables)) + 1):
        of_bucket = np.bincount(owners[users], counts[users], minlength=len(buckets))
        found = [left[b].take(int(of_bucket[b])) for b in np.flatnonzero(of_bucket).tolist()]
        table = pa.concat_tables(found or [RETAINED_SCHEMA.empty_table()])
        # Of one bucket they are in order, and the sort is stable.
        yield table.take(pc.sort_indices(table["user_id"])) if len(found) > 1 else table


class _Reader:
    """Rows of parts, some at a time."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = iter(parts)
        self._held = RETAINED_SCHEMA.empty_table()

    def take(self, count: int) -> pa.Table:
        while self._held.num_rows < count:
            self._held = pa.concat_tables([self._held, from_bytes(load(next(self._parts)))])
        rows, self._held = self._held.slice(0, count), self._held.slice(count)
        return rows


def of_bucket(tables: Iterable[pa.Table], bucket: int, num_buckets: int) -> pa.Table:
    """The rows of the users of a bucket; of tables that need not fit into memory together."""
    own = [RETAINED_SCHEMA.empty_table()]
    for listens in tables:
        is_own = bucket_numbers(listens["user_id"], num_buckets) == bucket
        own.append(listens.filter(pa.array(is_own)))
    return pa.concat_tables(own).combine_chunks()


@dataclass(frozen=True)
class Reopened:
    """The users that a run before has left, where newer listens go on."""

    listens: pa.Table
    """Of `RETAINED_SCHEMA`, in order."""
    user_id: pa.Array
    """(users,) string, ascending."""
    since: np.ndarray
    """(users,) int64 timestamp of the first retained listen."""
    previous_end: np.ndarray
    user_age: np.ndarray
    validation_start: int
    """Boundary of that run, UTC seconds."""

    @classmethod
    def of(cls, listens: pa.Table, validation_start: int) -> "Reopened":
        users = listens["user_id"].combine_chunks()
        is_first = np.ones(len(users), bool)
        if len(users):
            is_first[1:] = pc.not_equal(users[1:], users[:-1]).to_numpy(zero_copy_only=False)
        first = pa.array(np.flatnonzero(is_first))
        names = ("timestamp", "previous_end", "user_age")
        columns = {name: listens[name].take(first).to_numpy() for name in names}
        return cls(
            listens,
            users.take(first),
            columns["timestamp"],
            columns["previous_end"],
            columns["user_age"],
            validation_start,
        )

    def is_too_late(self, listens: pa.Table) -> np.ndarray:
        """(n,) bool: whether a listen would change a frozen session."""
        user = self._rows(listens["user_id"].combine_chunks())
        since = np.where(self.previous_end == NULL, NULL, self.since)
        return listens["timestamp"].to_numpy() < np.append(since, NULL)[user]

    def previous_ends(self, user_id: np.ndarray) -> np.ndarray:
        """(n,) of users (n,) as strings, `NULL` where nothing is frozen."""
        return np.append(self.previous_end, NULL)[self._rows(_strings(user_id))]

    def ages(self, user_id: np.ndarray) -> np.ndarray:
        """(n,) of users (n,) as strings, `AGE_UNKNOWN` for new ones."""
        return np.append(self.user_age, AGE_UNKNOWN)[self._rows(_strings(user_id))]

    @property
    def was_counted(self) -> np.ndarray:
        """(listens,) bool: whether that run counted them as of the training split."""
        # The last session of a user who had none later; nothing else before the boundary is here.
        is_training = self.since < self.validation_start
        return is_training[self._rows(self.listens["user_id"].combine_chunks())]

    def with_newer(self, listens: pa.Table) -> pa.Table:
        """The retained listens, then others that are not too late; of `CLEAN_SCHEMA`."""
        names = CLEAN_SCHEMA.names
        return pa.concat_tables([self.listens.select(names), listens.select(names)])

    def _rows(self, user_id: pa.Array) -> np.ndarray:
        """(n,) rows of users, -1 for new ones."""
        rows = pc.fill_null(pc.index_in(user_id, self.user_id), -1)
        return np.asarray(rows.to_numpy(zero_copy_only=False), np.int64)


def _strings(user_id: np.ndarray) -> pa.Array:
    return pa.array(user_id.tolist(), pa.string())


NOBODY: Final = Reopened.of(RETAINED_SCHEMA.empty_table(), 0)
"""Where there is no run before."""
