"""The session rules (§3): from listens to sessions, pure and vectorised.

Needs neither TensorFlow nor Beam. Everything is computed from the columns of a batch of whole
users, so that the result depends neither on the order of the rows nor on the files they came from.
"""

import dataclasses
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cosernn_tf.permutations import inverse
from cosernn_tf.schema import (
    MAX_TRACKS_PER_SESSION,
    SECONDS_PER_DAY,
    SESSION_GAP_SECONDS,
    SKIPPED_PADDING,
    TRACK_PADDING,
)
from cosernn_tf.table import SessionTable

NULL: Final = -1
"""A null of a column of `Listens`."""

SKIP_MS: Final = 30_000
"""A listen that is played for less counts as skipped where the log does not say (decision 2)."""

_KEY_BITS: Final = 63
_DIGIT_BITS: Final = 16

_FIRST_WEEKDAY: Final = 3
"""1 January 1970 was a Thursday."""


class SkipRule(StrEnum):
    """What decided that a listen counts as skipped or played (decision 2); names of counters."""

    GIVEN = "skipped_given"
    MS_PLAYED = "skipped_from_ms_played"
    NEXT_LISTEN = "skipped_from_next_listen"
    ASSUMED_PLAYED = "skipped_assumed_played"


@dataclass(frozen=True)
class Listens:
    """n listens of whole users, columns as in `schema.LISTEN_COLUMNS`, each (n,); `NULL` is null.

    Ids are codes, the rows of lists of distinct ids. Those of users and stream sources are sorted:
    comparing codes compares ids.
    """

    user: np.ndarray
    track: np.ndarray
    timestamp: np.ndarray
    ms_played: np.ndarray
    skipped: np.ndarray
    device: np.ndarray
    """Row of `schema.DEVICES`, never null."""
    stream_source: np.ndarray
    utc_offset_minutes: np.ndarray
    """Never null: 0 stands for it."""
    track_duration_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> "Listens":
        return Listens(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Sessions:
    """Sessions of whole users, and the ordered listens that they were made from."""

    table: SessionTable
    """Tracks and stream sources are codes, as in the listens."""
    listens: Listens
    session_of_listen: np.ndarray
    """(n,) row of the table."""


def in_order(listens: Listens, track_id: pa.Array | None = None) -> Listens:
    """The listens by (user, timestamp, track), without duplicates (decision 1).

    Of listens equal in these three, that which was played longest is kept, then by the other
    columns, so that the choice does not depend on the order of the rows.

    Args:
        listens: In any order.
        track_id: (tracks,) ids of the codes of tracks, if these are not in the order of the ids.
    """
    rows, is_tied = _by_user_and_time(listens)
    (tied,) = np.nonzero(is_tied)
    if not len(tied):
        return listens.take(rows)
    places = np.union1d(tied, tied - 1)
    track = listens.track[rows[places]]
    group = np.cumsum(~is_tied)[places]
    rank = track if track_id is None else _ranks(track, track_id)
    rows[places] = rows[places][np.lexsort((rank, group))]

    repeated = tied[listens.track[rows[tied]] == listens.track[rows[tied - 1]]]
    if not len(repeated):
        return listens.take(rows)
    # Only rows of groups with duplicates are sorted by all columns.
    equals_last = np.zeros(len(rows), bool)
    equals_last[repeated] = True
    involved = np.union1d(repeated, repeated - 1)
    group = np.cumsum(~equals_last)[involved]
    part = listens.take(rows[involved])
    others = [
        getattr(part, field.name)
        for field in fields(Listens)
        if field.name not in ("user", "track", "timestamp", "ms_played")
    ]
    rows[involved] = rows[involved][np.lexsort((*others, -part.ms_played, group))]
    return listens.take(rows[~equals_last])


def _by_user_and_time(listens: Listens) -> tuple[np.ndarray, np.ndarray]:
    """(n,) rows in that order, and (n,) bool: whether both are those of the row before."""
    is_tied = np.zeros(len(listens), bool)
    if not len(listens):
        return np.zeros(0, np.int64), is_tied
    time = listens.timestamp - listens.timestamp.min()
    time_bits = int(time.max()).bit_length()
    bits = int(listens.user.max()).bit_length() + time_bits
    if bits > _KEY_BITS:
        rows = np.lexsort((time, listens.user))
        user, time = listens.user[rows], time[rows]
        is_tied[1:] = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
        return rows, is_tied
    key = listens.user.astype(np.int64) << time_bits
    key |= time
    rows = _sort_by_digits(key, bits)
    key = key[rows]
    is_tied[1:] = key[1:] == key[:-1]
    return rows, is_tied


def _sort_by_digits(key: np.ndarray, bits: int) -> np.ndarray:
    """(n,) rows in the order of numbers of so many bits, equal ones as they stood."""
    rows = np.argsort(key.astype(np.uint16), kind="stable")
    # NumPy sorts two bytes in linear time, and so the whole twice as fast as at once.
    for shift in range(_DIGIT_BITS, bits, _DIGIT_BITS):
        digit = (key >> shift).astype(np.uint16)
        rows = rows[np.argsort(digit[rows], kind="stable")]
    return rows


def _ranks(track: np.ndarray, track_id: pa.Array) -> np.ndarray:
    """(n,) numbers of tracks in the order of their ids."""
    distinct, codes = np.unique(track, return_inverse=True)
    order = pc.sort_indices(track_id.take(pa.array(distinct))).to_numpy()
    return inverse(order)[codes]


def ends(listens: Listens) -> np.ndarray:
    """(n,) UTC seconds at which each listen ended; its start where that is unknown (decision 1)."""
    return listens.timestamp + np.maximum(listens.ms_played, 0) // 1000


def inactivity(listens: Listens, previous_end: np.ndarray | None = None) -> np.ndarray:
    """(n,) seconds from the end of the user's listen before to the start; 0 for the first.

    Negative where listens overlap. The listens are in order; `previous_end` as in `sessionize`.
    """
    gaps = np.zeros(len(listens), np.int64)
    gaps[1:] = listens.timestamp[1:] - ends(listens)[:-1]
    (first,) = np.nonzero(is_first_of_user(listens))
    gaps[first] = 0
    if previous_end is not None:
        end = previous_end[listens.user[first]]
        gaps[first] = np.where(end == NULL, 0, listens.timestamp[first] - end)
    return gaps


def is_first_of_user(listens: Listens) -> np.ndarray:
    """(n,) bool; the listens are in order."""
    first = np.ones(len(listens), bool)
    first[1:] = listens.user[1:] != listens.user[:-1]
    return first


def infer_skipped(listens: Listens) -> tuple[np.ndarray, Mapping[SkipRule, int]]:
    """Which listens count as skipped, and how many each rule decided (decision 2).

    Returns:
        (n,) bool, and listens by rule. The listens are in order.
    """
    seconds_to_next = np.zeros(len(listens), np.int64)
    seconds_to_next[:-1] = np.diff(listens.timestamp)
    has_next = np.zeros(len(listens), bool)
    has_next[:-1] = ~is_first_of_user(listens)[1:]
    rules = {
        SkipRule.GIVEN: (listens.skipped != NULL, listens.skipped == 1),
        SkipRule.MS_PLAYED: (listens.ms_played != NULL, listens.ms_played < SKIP_MS),
        SkipRule.NEXT_LISTEN: (
            has_next & (listens.track_duration_ms != NULL),
            2_000 * seconds_to_next < listens.track_duration_ms,
        ),
    }
    skipped = np.zeros(len(listens), bool)
    undecided = np.ones(len(listens), bool)
    counts = {}
    for rule, (applies, value) in rules.items():
        decides = applies & undecided
        skipped[decides] = value[decides]
        undecided &= ~applies
        counts[rule] = int(np.count_nonzero(decides))
    counts[SkipRule.ASSUMED_PLAYED] = int(np.count_nonzero(undecided))
    return skipped, counts


def sessionize(
    listens: Listens,
    skipped: np.ndarray,
    *,
    user_id: np.ndarray,
    user_age: np.ndarray,
    previous_end: np.ndarray | None = None,
    gap_seconds: int = SESSION_GAP_SECONDS,
) -> Sessions:
    """Groups listens in sessions: those with less than `gap_seconds` of inactivity between (§3).

    Args:
        listens: In order, see `in_order`.
        skipped: (n,) bool, see `infer_skipped`.
        user_id: (U,) bytes of each user code; every user has a listen.
        user_age: (U,) years, -1 unknown.
        previous_end: (U,) UTC seconds at which an earlier session of each user ended that is not
            among these, `NULL` where there is none; None: there are none.
        gap_seconds: Inactivity that starts a new session.
    """
    gaps = inactivity(listens, previous_end)
    first_of_user = is_first_of_user(listens)
    is_first = first_of_user | (gaps >= gap_seconds)
    (first,) = np.nonzero(is_first)
    session_of_listen = np.cumsum(is_first) - 1
    place = np.arange(len(listens)) - first[session_of_listen]
    kept = place < MAX_TRACKS_PER_SESSION

    shape = (len(first), MAX_TRACKS_PER_SESSION)
    track = np.full(shape, TRACK_PADDING, listens.track.dtype)
    track[session_of_listen[kept], place[kept]] = listens.track[kept]
    skip = np.full(shape, SKIPPED_PADDING, np.int8)
    skip[session_of_listen[kept], place[kept]] = skipped[kept]

    start = listens.timestamp[first]
    day_of_week, hour = local_day_and_hour(start, listens.utc_offset_minutes[first])
    table = SessionTable(
        row_splits=np.append(np.flatnonzero(first_of_user[first]), len(first)),
        user_id=user_id,
        user_age=user_age,
        session_start=start,
        day_of_week=day_of_week,
        hour=hour,
        device=listens.device[first],
        stream_source=listens.stream_source[first],
        num_tracks=np.diff(first, append=len(listens)),
        seconds_since_last=gaps[first],
        track=track,
        skipped=skip,
    )
    return Sessions(table, listens, session_of_listen)


def local_day_and_hour(
    timestamp: np.ndarray, utc_offset_minutes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Day of week (0 = Monday) and hour (0..23) on the user's clock. (n,), (n,) → (n,), (n,)."""
    local = timestamp + 60 * utc_offset_minutes.astype(np.int64)
    day = (local // SECONDS_PER_DAY + _FIRST_WEEKDAY) % 7
    return day, local % SECONDS_PER_DAY // 3600


def recode(table: SessionTable, *, track: np.ndarray, stream_source: np.ndarray) -> SessionTable:
    """The table with codes replaced by rows of the vocabularies.

    Args:
        table: Tracks and stream sources are codes.
        track: (codes,) new value of each track code; padding stays.
        stream_source: (codes,) new value of each stream-source code; null becomes 0, unknown.
    """
    return dataclasses.replace(
        table,
        track=_appended(track, TRACK_PADDING)[table.track],
        stream_source=_appended(stream_source, 0)[table.stream_source],
    )


def _appended(values: np.ndarray, last: int) -> np.ndarray:
    """With a value at the end, which padding and null, -1, read."""
    return np.append(values, values.dtype.type(last))


def shard_of(user_ids: Iterable[str | bytes], num_shards: int) -> np.ndarray:
    """(n,) int64 shard of each user: the CRC-32 of the id in UTF-8, modulo the number of shards.

    Stable over processes, machines and languages, so that any reader finds a user's shard.
    """
    codes = [zlib.crc32(user.encode() if isinstance(user, str) else user) for user in user_ids]
    return np.array(codes, np.int64) % num_shards
