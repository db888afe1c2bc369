"""From the listens of a bucket to the session sequences of its users."""

import dataclasses
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.rules.buckets import Bucket, gather_bucket
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, to_bytes
from beam_pipelines.rules.tally import DUPLICATES, KEPT, Tally
from beam_pipelines.rules.vocabulary import count_values, split_by_range
from beam_pipelines.transforms.read import LISTENS, TALLY, USERS, count
from cosernn_tf.schema import AGE_UNKNOWN
from cosernn_tf.sessions import Sessions, in_order, infer_skipped, sessionize
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


class SequenceUsers(beam.DoFn):
    """From (bucket, its grouped inputs) to (shard, (bucket, part: pickled `CodedSessions`)).

    Tagged outputs: `COUNTS`, (range, (bucket, part: Arrow IPC of `Counts.tracks`)), `SOURCES`,
    Arrow IPC of `Counts.stream_sources`, and `TALLY`. Where reading has failed or found too much
    bad, it gives nothing: the job ends then.
    """

    def __init__(self, config: SessionizeConfig, spill: Spill) -> None:
        self._gap_seconds = config.session_gap_seconds
        self._num_shards = config.num_shards
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
        bucket = gather_bucket(inputs[LISTENS])
        ages, age_counters = ages_of(bucket.user_id, inputs[USERS])
        sessions, counters = sequence_bucket(bucket, ages, gap_seconds=self._gap_seconds)
        counters |= age_counters
        count(counters)
        yield TaggedOutput(TALLY, Tally(counters))
        counts = count_values(
            sessions, split, track_id=bucket.track_id, stream_source=bucket.stream_source
        )
        yield TaggedOutput(SOURCES, to_bytes(counts.stream_sources))
        order, ranges = split_by_range(counts.tracks, splitters)
        coded = CodedSessions(
            _compact(sessions.table), order.astype(np.int32), bucket.stream_source
        )
        table, *counted = self._spill.put([pickle.dumps(coded), *map(to_bytes, ranges.values())])
        for range_number, part in zip(ranges, counted, strict=True):
            yield TaggedOutput(COUNTS, (range_number, (number, part)))
        yield number % self._num_shards, (number, table)


def unpickled(part: Part) -> Any:
    """What a step of this module has pickled."""
    return pickle.loads(load(part))


def sequence_bucket(
    bucket: Bucket, ages: np.ndarray, *, gap_seconds: int
) -> tuple[Sessions, dict[str, int]]:
    """The sessions of a bucket's users, and what happened to its listens.

    Args:
        bucket: All listens of its users.
        ages: (users,) years, -1 unknown.
        gap_seconds: Inactivity that starts a session.
    """
    listens = in_order(bucket.listens, bucket.track_id)
    skipped, by_rule = infer_skipped(listens)
    sessions = sessionize(
        listens,
        skipped,
        user_id=np.array([user.encode() for user in bucket.user_id], object),
        user_age=ages,
        gap_seconds=gap_seconds,
    )
    counters = {
        KEPT: len(listens),
        DUPLICATES: len(bucket.listens) - len(listens),
        "users": sessions.table.num_users,
        "sessions": sessions.table.num_sessions,
        **{rule.value: number for rule, number in by_rule.items()},
    }
    return sessions, counters


def ages_of(user_id: np.ndarray, parts: Iterable[Part]) -> tuple[np.ndarray, dict[str, int]]:
    """Ages of users (n,) as strings, and counters; the greatest where a user has several ages."""
    found: dict[str, int] = {}
    rows = 0
    for part in parts:
        table = from_bytes(load(part))
        rows += table.num_rows
        for user, age in zip(table["user_id"].to_pylist(), table["age"].to_pylist(), strict=True):
            found[user] = max(age, found.get(user, AGE_UNKNOWN))
    ages = np.array([found.get(user, AGE_UNKNOWN) for user in user_id], np.int64)
    listening = sum(user in found for user in user_id)
    return ages, {
        "users_with_age": int(np.count_nonzero(ages != AGE_UNKNOWN)),
        "users_duplicates": rows - len(found),
        "users_without_listens": len(found) - listening,
    }


def _compact(table: SessionTable) -> SessionTable:
    """The same values in a quarter of the bytes, for the way to the next step."""
    return dataclasses.replace(
        table, track=table.track.astype(np.int32), skipped=table.skipped.astype(np.int8)
    )
