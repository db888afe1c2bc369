"""Another peer: the same job as Beam is mostly written, with one element a listen.

    python -m benchmarks.beam_per_listen --listens=log/listens --output=sessions

Rows become Python tuples by user, functions loop over each user's, and TensorFlow serialises the
records. It runs in this process as the direct runner of `beam_pipelines.sessionize` does, takes
every row for a good one, and needs memory for all of them.
"""

import logging as python_logging
from collections import Counter
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import tensorflow as tf
from apache_beam.io import ReadFromParquet, WriteToText, WriteToTFRecord
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsSingleton

from benchmarks import peer
from cosernn_tf.schema import (
    AGE_UNKNOWN,
    DEVICES,
    MAX_TRACKS_PER_SESSION,
    SECONDS_PER_DAY,
    SESSION_GAP_SECONDS,
    SKIPPED_PADDING,
    TEST_DAYS,
    TRACK_PADDING,
    UNKNOWN,
    VALIDATION_DAYS,
)

RECORDS: Final = "sessions"
"""Before the number of each shard."""
TRACKS: Final = "tracks"
STREAM_SOURCES: Final = "stream_sources"

_NUM_SHARDS: Final = 32
_MAX_STREAM_SOURCES: Final = 100
_FIRST_WEEKDAY: Final = 3
"""1 January 1970 was a Thursday."""

_COLUMNS: Final = (
    "timestamp",
    "track_id",
    "ms_played",
    "skipped",
    "device",
    "stream_source",
    "utc_offset_minutes",
)
Listen = tuple[int, str, int | None, bool, str | None, str | None, int | None]
"""A row of the log without its user. Beam's coders are quickest with plain tuples and lists."""
Session = tuple[int, list[Listen]]
"""Seconds since the end of the session before, and the listens in order."""
Sequence = tuple[str, list[Session]]
"""A user and that user's sessions."""


def build(pipeline: beam.Pipeline, listens: Path, output: Path) -> None:
    """Adds the whole job to a pipeline."""
    columns = ["user_id", *_COLUMNS]
    rows = pipeline | "Read" >> ReadFromParquet(f"{listens}/*.parquet", columns=columns)
    sequences = (
        rows
        | "KeyByUser" >> beam.Map(keyed_by_user)
        | "GroupByUser" >> beam.GroupByKey()
        | "Sessions" >> beam.MapTuple(lambda user, own: (user, sessions_of(own)))
    )
    validation_start = (
        sequences
        | "LastOfUser" >> beam.Map(last_timestamp)
        | "LastTimestamp" >> beam.CombineGlobally(max)
        | "Split" >> beam.Map(lambda last: last - (TEST_DAYS + VALIDATION_DAYS) * SECONDS_PER_DAY)
    )
    tracks = (
        sequences
        | "Tracks" >> beam.FlatMap(tracks_of, AsSingleton(validation_start))
        | "CountTracks" >> beam.CombinePerKey(sum)
        | "GatherTracks" >> beam.combiners.ToList()
        | "OrderTracks" >> beam.Map(lambda counts: [track for track, _ in in_order(counts)])
    )
    sources = (
        sequences
        | "Sources" >> beam.FlatMap(sources_of, AsSingleton(validation_start))
        | "CountSources" >> beam.CombinePerKey(sum)
        | "GatherSources" >> beam.combiners.ToList()
        | "OrderSources" >> beam.Map(known_sources)
    )
    _ = (
        sequences
        | "Examples"
        >> beam.Map(
            example,
            AsSingleton(tracks | "TrackRows" >> beam.Map(rows_of)),
            AsSingleton(sources | "SourceRows" >> beam.Map(rows_of)),
        )
        | "Write" >> WriteToTFRecord(str(output / RECORDS), num_shards=_NUM_SHARDS)
    )
    for name, values in ((TRACKS, tracks), (STREAM_SOURCES, sources)):
        _ = (
            values
            | f"Each_{name}" >> beam.FlatMap(lambda listed: listed)
            | f"Write_{name}" >> WriteToText(str(output / name), num_shards=1)
        )


def keyed_by_user(row: dict[str, Any]) -> tuple[str, Listen]:
    return row["user_id"], tuple(row[name] for name in _COLUMNS)


def sessions_of(listens: Iterable[Listen]) -> list[Session]:
    """The sessions of a user, from listens in any order, also such as were written twice."""
    distinct = {listen[:2]: listen for listen in listens}
    sessions: list[Session] = []
    end = 0
    for (timestamp, _), listen in sorted(distinct.items()):
        inactivity = timestamp - end if sessions else 0
        if not sessions or inactivity >= SESSION_GAP_SECONDS:
            sessions.append((inactivity, []))
        sessions[-1][1].append(listen)
        ms_played = listen[2]
        end = timestamp + (ms_played or 0) // 1_000
    _count(users=1, sessions=len(sessions), kept=len(distinct))
    return sessions


def last_timestamp(sequence: Sequence) -> int:
    _, sessions = sequence
    _, listens = sessions[-1]
    return listens[-1][0]


def tracks_of(sequence: Sequence, validation_start: int) -> Iterable[tuple[str, int]]:
    """Each of a user's tracks, and its listens in the training split."""
    counts: Counter[str] = Counter()
    for _, listens in sequence[1]:
        in_training = int(listens[0][0] < validation_start)
        for _, track_id, *_ in listens:
            counts[track_id] += in_training
    return counts.items()


def sources_of(sequence: Sequence, validation_start: int) -> Iterable[tuple[str, int]]:
    """Each of a user's known stream sources in the training split, and its listens."""
    return Counter(
        source
        for _, listens in sequence[1]
        if listens[0][0] < validation_start
        for *_, source, _ in listens
        if source is not None and source != UNKNOWN
    ).items()


def in_order(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The most listened to first, then by name."""
    return sorted(counts, key=lambda item: (-item[1], item[0]))


def known_sources(counts: list[tuple[str, int]]) -> list[str]:
    return [UNKNOWN, *(source for source, _ in in_order(counts)[:_MAX_STREAM_SOURCES])]


def rows_of(values: list[str]) -> dict[str, int]:
    return {value: row for row, value in enumerate(values)}


def example(sequence: Sequence, tracks: dict[str, int], sources: dict[str, int]) -> bytes:
    """The record of a user, a serialised `tf.train.Example`."""
    user_id, sessions = sequence
    kept = [listens[:MAX_TRACKS_PER_SESSION] for _, listens in sessions]
    starts, _, _, _, devices, names, offsets = zip(*(own[0] for own in kept), strict=True)
    local = [start + 60 * (offset or 0) for start, offset in zip(starts, offsets, strict=True)]
    features = {
        "user_age": [AGE_UNKNOWN],
        "session_start": starts,
        "day_of_week": [(time // SECONDS_PER_DAY + _FIRST_WEEKDAY) % 7 for time in local],
        "hour": [time % SECONDS_PER_DAY // 3_600 for time in local],
        "device": map(device_row, devices),
        "stream_source": [sources.get(name or UNKNOWN, 0) for name in names],
        "num_tracks": [len(listens) for _, listens in sessions],
        "seconds_since_last": [inactivity for inactivity, _ in sessions],
        "track": padded([[tracks[row[1]] for row in own] for own in kept], TRACK_PADDING),
        "skipped": padded([[int(row[3]) for row in own] for own in kept], SKIPPED_PADDING),
    }
    proto = tf.train.Example()
    proto.features.feature["user_id"].bytes_list.value.append(user_id.encode())
    for name, values in features.items():
        proto.features.feature[name].int64_list.value.extend(values)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


def padded(lists: list[list[int]], value: int) -> list[int]:
    """All lists in one, each filled up to `MAX_TRACKS_PER_SESSION`."""
    whole = MAX_TRACKS_PER_SESSION
    return list(chain.from_iterable(own + [value] * (whole - len(own)) for own in lists))


def device_row(device: str | None) -> int:
    name = (device or UNKNOWN).lower()
    return DEVICES.index(name if name in DEVICES else "other")


def _count(**counts: int) -> None:
    for name, value in counts.items():
        Metrics.counter("sessionize", name).inc(value)


def sessionize(listens: Path, output: Path) -> None:
    """Runs the pipeline, and writes what it has counted."""
    python_logging.getLogger("apache_beam").setLevel(python_logging.WARNING)
    # Beam's DirectRunner comes to this, after an attempt to download another one.
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"]))
    build(pipeline, listens, output)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace("sessionize"))["counters"]
    counts = {counter.key.metric.name: counter.committed for counter in counters}
    peer.write_counts(output, counts)


if __name__ == "__main__":
    peer.run(sessionize, description=__doc__)
