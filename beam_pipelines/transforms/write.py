"""Writes shards, vocabularies and rejected rows into the staging directory."""

import contextlib
import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from absl import logging

from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, load_array, load_pieces
from beam_pipelines.rules.vocabulary import TRACK_SCHEMA, in_row_order
from beam_pipelines.transforms.sequence import SESSIONS, CodedSessions, unpickled
from beam_pipelines.transforms.vocabulary import RANKS, Vocabulary
from cosernn_tf.records import framed_records
from cosernn_tf.schema import DEVICES, TRACK_CUT
from cosernn_tf.sessions import recode
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    STREAM_SOURCE_VOCABULARY,
    TRACK_VOCABULARY,
    to_lines,
)

REPORT: Final = "report.json"
"""What the steps say of what they wrote; read and removed by the job."""

_PROGRESS_SECONDS: Final = 5
_TRACKS_AT_ONCE: Final = 2**20
"""Rows of a row group of the vocabulary."""


def shard_name(number: int, num_shards: int) -> str:
    """In the form that TensorFlow Datasets looks for: data set "sessions", split "users"."""
    return f"sessions-users.tfrecord-{number:05d}-of-{num_shards:05d}"


class WriteShard(beam.DoFn):
    """Writes the TFRecord file of a shard, from the coded sessions and the rows of its buckets."""

    def __init__(self, directory: str, num_shards: int, spill: Spill) -> None:
        self._directory = Path(directory)
        self._num_shards = num_shards
        self._spill = spill

    def process(
        self, element: tuple[int, dict[str, Iterable[tuple[int, Any]]]], vocabulary: Vocabulary
    ) -> Iterator[dict[str, Any]]:
        number, inputs = element
        ranks: dict[int, list[tuple[int, Part]]] = {}
        for bucket, of_range in inputs[RANKS]:
            ranks.setdefault(bucket, []).append(of_range)
        buckets = [
            self._serialize(coded, ranks.get(bucket, []), vocabulary)
            for bucket, coded in sorted(inputs[SESSIONS], key=itemgetter(0))
        ]
        name = shard_name(number, self._num_shards)
        written = write_whole(self._directory / name, in_order_of_users(buckets))
        logging.log_every_n_seconds(logging.INFO, "Wrote %s", _PROGRESS_SECONDS, name)
        yield {
            "shard": {
                "name": name,
                "users": sum(len(bucket.user_id) for bucket in buckets),
                "sessions": sum(bucket.num_sessions for bucket in buckets),
                "sha256": written.sha256,
            },
            "bytes": written.length,
        }

    def _serialize(
        self, part: Part, ranks: Iterable[tuple[int, Part]], vocabulary: Vocabulary
    ) -> "BucketRecords":
        coded: CodedSessions = unpickled(part)
        table = recode(
            coded.table,
            track=track_rows(coded, ranks, vocabulary),
            stream_source=source_rows(coded, vocabulary),
        )
        records = framed_records(table)
        (placed,) = self._spill.put([records.data])
        return BucketRecords(table.user_id, np.diff(records.splits), placed, table.num_sessions)


def track_rows(
    coded: CodedSessions, ranks: Iterable[tuple[int, Part]], vocabulary: Vocabulary
) -> np.ndarray:
    """(track codes,) int32 rows of the vocabulary, `TRACK_CUT` where a track was cut."""
    rows = np.empty(len(coded.track_order), np.int32)
    rows[coded.track_order] = vocabulary.rows_of(
        (number, load_array(part, np.int32)) for number, part in sorted(ranks, key=itemgetter(0))
    )
    rows[rows >= vocabulary.num_tracks] = TRACK_CUT
    return rows


def source_rows(coded: CodedSessions, vocabulary: Vocabulary) -> np.ndarray:
    """(source codes,) int64 rows of the vocabulary; 0, unknown, where a source has none."""
    found = pc.index_in(coded.stream_source, pa.array(vocabulary.stream_sources, pa.string()))
    return np.asarray(pc.fill_null(found, 0).to_numpy(zero_copy_only=False), np.int64)


@dataclass(frozen=True)
class BucketRecords:
    """The records of a bucket's users, in the users' order."""

    user_id: np.ndarray
    """(users,) object: bytes, ascending."""
    length: np.ndarray
    """(users,) int64 bytes of each user's record."""
    part: Part
    """All of them."""
    num_sessions: int


def in_order_of_users(buckets: Sequence[BucketRecords]) -> Iterator[bytes]:
    """The records of all buckets in the order of the users, each read when its turn comes."""
    owner = np.repeat(np.arange(len(buckets)), [len(bucket.user_id) for bucket in buckets])
    order = np.argsort(np.concatenate([bucket.user_id for bucket in buckets]), kind="stable")
    # A bucket's own are in order, so that it is read once through.
    records = [load_pieces(bucket.part, bucket.length.tolist()) for bucket in buckets]
    for number in owner[order].tolist():
        yield next(records[number])


class WriteVocabulary(beam.DoFn):
    """Writes the three vocabularies."""

    def __init__(self, directory: str, spill: Spill) -> None:
        self._directory = Path(directory)
        self._spill = spill

    def process(self, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
        (self._directory / TRACK_VOCABULARY).parent.mkdir(exist_ok=True)
        files = {
            DEVICE_VOCABULARY: to_lines(DEVICES),
            STREAM_SOURCE_VOCABULARY: to_lines(vocabulary.stream_sources),
        }
        written = {
            name: write_whole(self._directory / name, [data]) for name, data in files.items()
        }
        with whole_file(self._directory / TRACK_VOCABULARY) as file:
            self._write_tracks(vocabulary, file)
        written[TRACK_VOCABULARY] = file.written
        yield {
            "vocabularies": {name: of_file.sha256 for name, of_file in sorted(written.items())},
            "tracks": vocabulary.num_tracks,
        }

    def _write_tracks(self, vocabulary: Vocabulary, file: "WatchedFile") -> None:
        tables = in_row_order(
            (from_bytes(load(found.tracks)) for found in vocabulary.ranges),
            load_array(vocabulary.rows, np.int32),
            self._spill,
            rows_at_once=_TRACKS_AT_ONCE,
        )
        left = vocabulary.num_tracks
        with pq.ParquetWriter(file, TRACK_SCHEMA, compression="zstd") as writer:
            for table in tables:
                if left <= 0:
                    break
                writer.write_table(table.slice(0, left), row_group_size=_TRACKS_AT_ONCE)
                left -= table.num_rows


class WriteRejected(beam.DoFn):
    """Writes the rejected rows of a file, in its order, from the parts of its batches."""

    def __init__(self, directory: str, paths: Iterable[str]) -> None:
        self._directory = Path(directory)
        self._numbers = {path: number for number, path in enumerate(paths)}

    def process(self, element: tuple[str, Iterable[tuple[int, Part]]]) -> None:
        path, parts = element
        name = f"rejected.jsonl-{self._numbers[path]:05d}-of-{len(self._numbers):05d}"
        in_order = sorted(parts, key=itemgetter(0))
        write_whole(self._directory / name, (load(part) for _, part in in_order))


class WriteReport(beam.DoFn):
    """Writes what all steps have said, for the job to make the manifest of."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / REPORT

    def process(self, parts: list[dict[str, Any]]) -> None:
        write_whole(self._path, [json.dumps(parts).encode()])


@dataclass(frozen=True)
class Written:
    """A file that was written."""

    length: int
    sha256: str


class WatchedFile(io.RawIOBase):
    """A file to write once, from start to end, that knows its checksum."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksum = hashlib.sha256()
        self._length = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._length

    def write(self, data: Any) -> int:
        self._checksum.update(data)
        length = self._file.write(data)
        self._length += length
        return length

    @property
    def written(self) -> Written:
        return Written(self._length, self._checksum.hexdigest())


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[WatchedFile]:
    """A file that is there whole or not at all, also where a runner tries a step twice."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        yield WatchedFile(file)
    os.replace(temporary, path)


def write_whole(path: Path, blocks: Iterable[bytes]) -> Written:
    """Writes such a file block by block."""
    with whole_file(path) as file:
        for block in blocks:
            file.write(block)
    return file.written
