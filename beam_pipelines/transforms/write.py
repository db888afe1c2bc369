"""Writes shards, vocabularies and rejected rows into the staging directory."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from beam_pipelines.rules.spill import Part, Spill, load, load_pieces
from beam_pipelines.rules.vocabulary import Rows, Vocabulary
from beam_pipelines.transforms.sequence import ROWS, SESSIONS, unpickled
from cosernn_tf.records import framed_records
from cosernn_tf.schema import DEVICES
from cosernn_tf.sessions import recode
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import DEVICE_VOCABULARY, STREAM_SOURCE_VOCABULARY, TRACK_VOCABULARY

REPORT: Final = "report.json"
"""What the steps say of what they wrote; read and removed by the job."""

_PROGRESS_SECONDS: Final = 5


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
        self, element: tuple[int, dict[str, Iterable[tuple[int, Part]]]]
    ) -> Iterator[dict[str, Any]]:
        number, inputs = element
        coded, rows = (dict(inputs[name]) for name in (SESSIONS, ROWS))
        buckets = [self._serialize(coded[bucket], rows[bucket]) for bucket in sorted(coded)]
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

    def _serialize(self, coded: Part, rows: Part) -> "Records":
        table: SessionTable = unpickled(coded)
        found: Rows = unpickled(rows)
        table = recode(table, track=found.track, stream_source=found.stream_source)
        records = framed_records(table)
        (part,) = self._spill.put([b"".join(records)])
        return Records(table.user_id, [len(record) for record in records], part, table.num_sessions)


@dataclass(frozen=True)
class Records:
    """The records of a bucket's users, in the users' order."""

    user_id: np.ndarray
    """(users,) object: bytes, ascending."""
    length: Sequence[int]
    """Of each user's record, bytes."""
    part: Part
    """All of them."""
    num_sessions: int


def in_order_of_users(buckets: Sequence[Records]) -> Iterator[bytes]:
    """The records of all buckets in the order of the users, each read when its turn comes."""
    owner = np.repeat(np.arange(len(buckets)), [len(bucket.user_id) for bucket in buckets])
    order = np.argsort(np.concatenate([bucket.user_id for bucket in buckets]), kind="stable")
    # A bucket's own are in order, so that it is read once through.
    records = [load_pieces(bucket.part, bucket.length) for bucket in buckets]
    for number in owner[order].tolist():
        yield next(records[number])


class WriteVocabulary(beam.DoFn):
    """Writes the three vocabularies."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def process(self, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
        sink = pa.BufferOutputStream()
        pq.write_table(vocabulary.tracks, sink, compression="zstd")
        files = {
            TRACK_VOCABULARY: sink.getvalue().to_pybytes(),
            DEVICE_VOCABULARY: _lines(DEVICES),
            STREAM_SOURCE_VOCABULARY: _lines(vocabulary.stream_sources),
        }
        yield {
            "vocabularies": {
                name: write_whole(self._directory / name, [data]).sha256
                for name, data in files.items()
            },
            "tracks": vocabulary.tracks.num_rows,
        }


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


def write_whole(path: Path, blocks: Iterable[bytes]) -> Written:
    """Writes a file that is there whole or not at all, also where a runner tries a step twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    length, checksum = 0, hashlib.sha256()
    with temporary.open("wb") as file:
        for block in blocks:
            file.write(block)
            checksum.update(block)
            length += len(block)
    os.replace(temporary, path)
    return Written(length, checksum.hexdigest())


def _lines(values: Iterable[str]) -> bytes:
    # A vocabulary has a value a line, whatever the value holds.
    return "".join(" ".join(value.split("\n")) + "\n" for value in values).encode()
