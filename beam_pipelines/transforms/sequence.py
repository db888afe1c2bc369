"""From the listens of a bucket to the session sequences of its users."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.rules.buckets import Bucket, from_bytes, gather_bucket
from beam_pipelines.rules.tally import DUPLICATES, KEPT, Tally
from beam_pipelines.rules.vocabulary import Counts, count_values
from beam_pipelines.transforms.read import LISTENS, TALLY, USERS, count
from cosernn_tf.schema import AGE_UNKNOWN
from cosernn_tf.sessions import Sessions, in_order, infer_skipped, sessionize
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import Split

COUNTS: Final = "counts"


@dataclass(frozen=True)
class CodedSessions:
    """Sessions of a bucket before the vocabularies are known."""

    bucket: int
    table: SessionTable
    """Tracks and stream sources are rows of these:"""
    track_id: pa.Array
    stream_source: pa.Array


class SequenceUsers(beam.DoFn):
    """From (bucket, its grouped inputs) to `CodedSessions`; tagged outputs `COUNTS` and `TALLY`."""

    def __init__(self, config: SessionizeConfig) -> None:
        self._gap_seconds = config.session_gap_seconds

    def process(
        self, element: tuple[int, dict[str, Iterable[bytes]]], split: Split
    ) -> Iterator[Any]:
        number, inputs = element
        bucket = gather_bucket(inputs[LISTENS])
        ages, age_counters = ages_of(bucket.user_id, inputs[USERS])
        sessions, counters = sequence_bucket(bucket, ages, gap_seconds=self._gap_seconds)
        counters |= age_counters
        count(counters)
        yield TaggedOutput(TALLY, Tally(counters))
        counts: Counts = count_values(
            sessions, split, track_id=bucket.track_id, stream_source=bucket.stream_source
        )
        yield TaggedOutput(COUNTS, counts)
        yield CodedSessions(number, _compact(sessions.table), bucket.track_id, bucket.stream_source)


def sequence_bucket(
    bucket: Bucket, ages: np.ndarray, *, gap_seconds: int
) -> tuple[Sessions, dict[str, int]]:
    """The sessions of a bucket's users, and what happened to its listens.

    Args:
        bucket: All listens of its users.
        ages: (users,) years, -1 unknown.
        gap_seconds: Inactivity that starts a session.
    """
    listens = in_order(bucket.listens)
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


def ages_of(user_id: np.ndarray, parts: Iterable[bytes]) -> tuple[np.ndarray, dict[str, int]]:
    """Ages of users (n,) as strings, and counters; the greatest where a user has several ages."""
    found: dict[str, int] = {}
    rows = 0
    for part in parts:
        table = from_bytes(part)
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
