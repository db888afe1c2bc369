"""From the listens of a bucket to the session sequences of its users."""

import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.rules.buckets import Bucket, bucket_of, gather_bucket, gather_rows
from beam_pipelines.rules.hashing import StoredIds
from beam_pipelines.rules.late import ORIGIN_SCHEMA, TOO_LATE, late_rows
from beam_pipelines.rules.older import Older
from beam_pipelines.rules.retained import NOBODY, RetainedParts, retain
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, to_bytes
from beam_pipelines.rules.tally import DEVICES_OTHER, DUPLICATES, KEPT, REJECTED, Tally
from beam_pipelines.rules.vocabulary import count_values, split_by_range
from beam_pipelines.transforms.read import FAILURES, LISTENS, TALLY, USERS, count, rejected_lines
from cosernn_tf.errors import UserError
from cosernn_tf.schema import AGE_UNKNOWN, DEVICES
from cosernn_tf.sessions import Listens, Sessions, in_order, infer_skipped, sessionize
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import Split

SESSIONS: Final = "sessions"
COUNTS: Final = "counts"
SOURCES: Final = "sources"


@dataclass(frozen=True)
class CodedSessions:
    """The sessions of a bucket, tracks and stream sources as codes of the bucket."""

    table: SessionTable
    track_order: np.ndarray
    """(tracks,) int32 codes of tracks in the order in which their ranges tell their ranks."""
    stream_source: pa.Array
    """(sources,) string."""


@dataclass(frozen=True)
class Sequenced:
    """What becomes of a bucket."""

    coded: Part
    """Pickled `CodedSessions`."""
    retained: RetainedParts | None
    """If state is kept."""


class SequenceUsers(beam.DoFn):
    """From (bucket, its grouped inputs) to (shard, (bucket, `Sequenced`)).

    Tagged outputs: `COUNTS`, (range, (bucket, part: Arrow IPC of `Counts.tracks`)), `SOURCES`,
    Arrow IPC of `Counts.stream_sources`, `TALLY`, `REJECTED_LINES` as of `ReadListens`, of listens
    that are too late, and `FAILURES`. Where reading has failed or found too much bad, it gives
    nothing: the job ends then.

    With an older output, it makes the sessions since each user was reopened there.
    """

    def __init__(
        self,
        config: SessionizeConfig,
        spill: Spill,
        *,
        num_buckets: int,
        older: Older | None = None,
        ids: StoredIds,
    ) -> None:
        self._gap_seconds = config.session_gap_seconds
        self._num_shards = config.num_shards
        self._num_buckets = num_buckets
        self._keeps_state = config.keep_state
        self._older = older
        self._ids = ids
        self._spill = spill

    def process(
        self,
        element: tuple[int, dict[str, Iterable[Part]]],
        split: Split,
        splitters: tuple[str, ...],
        stops: Iterable[str],
    ) -> Iterator[Any]:
        if any(stops):
            return
        number, inputs = element
        if self._older is None:
            bucket, reopened = gather_bucket(inputs[LISTENS]), NOBODY
        else:
            try:
                reopened = self._older.reopened(number, self._num_buckets)
            except UserError as error:
                yield TaggedOutput(FAILURES, str(error))
                return
            rows = gather_rows(inputs[LISTENS], ORIGIN_SCHEMA)
            is_late = reopened.is_too_late(rows)
            yield from self._too_late(rows.filter(pa.array(is_late)))
            bucket = bucket_of(reopened.with_newer(rows.filter(pa.array(~is_late))))
        ages, age_counters = ages_of(bucket.user_id, inputs[USERS], reopened.ages(bucket.user_id))
        previous_end = reopened.previous_ends(bucket.user_id)
        retained = bucket.listens.take(np.arange(reopened.listens.num_rows))
        sessions, counters = sequence_bucket(
            bucket,
            ages,
            gap_seconds=self._gap_seconds,
            previous_end=previous_end,
            retained=retained,
        )
        counters |= age_counters
        count(counters)
        times = bucket.listens.timestamp
        yield TaggedOutput(TALLY, Tally(counters, int(times.min()) if len(times) else None))
        counts = count_values(
            sessions,
            split,
            track_id=bucket.track_id,
            stream_source=bucket.stream_source,
            counted=retained.take(np.flatnonzero(reopened.was_counted)),
        )
        yield TaggedOutput(SOURCES, to_bytes(counts.stream_sources))
        order, ranges = split_by_range(counts.tracks, splitters)
        coded = CodedSessions(sessions.table, order.astype(np.int32), bucket.stream_source)
        kept = None
        if self._keeps_state:
            kept = retain(
                sessions,
                split.validation_start,
                track_id=bucket.track_id,
                stream_source=bucket.stream_source,
                previous_end=previous_end,
            )
        table, *counted = self._spill.put([pickle.dumps(coded), *map(to_bytes, ranges.values())])
        for range_number, part in zip(ranges, counted, strict=True):
            yield TaggedOutput(COUNTS, (range_number, (number, part)))
        placed = None if kept is None else RetainedParts.of(kept, self._spill)
        yield number % self._num_shards, (number, Sequenced(table, placed))

    def _too_late(self, listens: pa.Table) -> Iterator[TaggedOutput]:
        if not listens.num_rows:
            return
        other = np.count_nonzero(listens["device"].to_numpy() == DEVICES.index("other"))
        # They were counted as clean.
        counters = {REJECTED + TOO_LATE: listens.num_rows, DEVICES_OTHER: -int(other)}
        count(counters)
        yield TaggedOutput(TALLY, Tally(counters))
        for name, rows in late_rows(listens, self._ids.hasher()):
            yield from rejected_lines(name, rows, self._spill)


def unpickled(part: Part) -> Any:
    """What a step of this module has pickled."""
    return pickle.loads(load(part))


def sequence_bucket(
    bucket: Bucket,
    ages: np.ndarray,
    *,
    gap_seconds: int,
    previous_end: np.ndarray | None = None,
    retained: Listens | None = None,
) -> tuple[Sessions, dict[str, int]]:
    """The sessions of a bucket's users, and what happened to its listens.

    Args:
        bucket: All listens of its users, or all since each was reopened.
        ages: (users,) years, -1 unknown.
        gap_seconds: Inactivity that starts a session.
        previous_end: (users,) as of `cosernn_tf.sessions.sessionize`.
        retained: Those of the listens, in order, that an older run has in its counters.
    """
    listens = in_order(bucket.listens, bucket.track_id)
    skipped, by_rule = infer_skipped(listens)
    if retained is None:
        retained = listens.take(np.zeros(0, np.int64))
    _, before = infer_skipped(retained)
    sessions = sessionize(
        listens,
        skipped,
        user_id=np.array([user.encode() for user in bucket.user_id], object),
        user_age=ages,
        previous_end=previous_end,
        gap_seconds=gap_seconds,
    )
    counters = {
        KEPT: len(listens) - len(retained),
        DUPLICATES: len(bucket.listens) - len(listens),
        "users": sessions.table.num_users,
        "sessions": sessions.table.num_sessions,
        **{rule.value: number - before[rule] for rule, number in by_rule.items()},
    }
    return sessions, counters


def ages_of(
    user_id: np.ndarray, parts: Iterable[Part], known: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Ages of users, and counters; the greatest where a user has several ages.

    Args:
        user_id: (n,) strings.
        parts: Of users and ages.
        known: (n,) ages that were known before, -1 unknown.
    """
    found: dict[str, int] = {}
    rows = 0
    for part in parts:
        table = from_bytes(load(part))
        rows += table.num_rows
        for user, age in zip(table["user_id"].to_pylist(), table["age"].to_pylist(), strict=True):
            found[user] = max(age, found.get(user, AGE_UNKNOWN))
    ages = np.array([found.get(user, AGE_UNKNOWN) for user in user_id], np.int64)
    ages = np.maximum(ages, known)
    listening = sum(user in found for user in user_id)
    return ages, {
        "users_with_age": int(np.count_nonzero(ages != AGE_UNKNOWN)),
        "users_duplicates": rows - len(found),
        "users_without_listens": len(found) - listening,
    }
