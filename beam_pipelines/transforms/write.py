"""Writes shards, vocabularies and rejected rows into the staging directory."""

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from beam_pipelines.rules.spill import Part
from beam_pipelines.rules.vocabulary import Vocabulary
from beam_pipelines.transforms.sequence import ROWS, SESSIONS, unpickled
from cosernn_tf.records import write_records
from cosernn_tf.schema import DEVICES
from cosernn_tf.sessions import recode
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    STREAM_SOURCE_VOCABULARY,
    TRACK_VOCABULARY,
    sha256,
)

REPORT: Final = "report.json"
"""What the steps say of what they wrote; read and removed by the job."""

_PROGRESS_SECONDS: Final = 5


def shard_name(number: int, num_shards: int) -> str:
    """In the form that TensorFlow Datasets looks for: data set "sessions", split "users"."""
    return f"sessions-users.tfrecord-{number:05d}-of-{num_shards:05d}"


class WriteShard(beam.DoFn):
    """Writes the TFRecord file of a bucket, from its coded sessions and their rows."""

    def __init__(self, directory: str, num_shards: int) -> None:
        self._directory = Path(directory)
        self._num_shards = num_shards

    def process(self, element: tuple[int, dict[str, Iterable[Part]]]) -> Iterator[dict[str, Any]]:
        number, inputs = element
        (coded,), (rows,) = (map(unpickled, inputs[name]) for name in (SESSIONS, ROWS))
        table = recode(coded, track=rows.track, stream_source=rows.stream_source)
        name = shard_name(number, self._num_shards)
        data = write_records(table)
        write_whole(self._directory / name, data)
        logging.log_every_n_seconds(logging.INFO, "Wrote %s", _PROGRESS_SECONDS, name)
        yield {
            "shard": {
                "name": name,
                "users": table.num_users,
                "sessions": table.num_sessions,
                "sha256": sha256(data),
            },
            "bytes": len(data),
        }


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
        for name, data in files.items():
            write_whole(self._directory / name, data)
        yield {
            "vocabularies": {name: sha256(data) for name, data in files.items()},
            "tracks": vocabulary.tracks.num_rows,
        }


class WriteRejected(beam.DoFn):
    """Writes the rejected rows of a file, in its order."""

    def __init__(self, directory: str, paths: Iterable[str]) -> None:
        self._directory = Path(directory)
        self._numbers = {path: number for number, path in enumerate(paths)}

    def process(self, element: tuple[str, Iterable[tuple[int, str]]]) -> None:
        path, rows = element
        name = f"rejected.jsonl-{self._numbers[path]:05d}-of-{len(self._numbers):05d}"
        data = "".join(f"{line}\n" for _, line in sorted(rows)).encode("utf-8", "backslashreplace")
        write_whole(self._directory / name, data)


class WriteReport(beam.DoFn):
    """Writes what all steps have said, for the job to make the manifest of."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / REPORT

    def process(self, parts: list[dict[str, Any]]) -> None:
        write_whole(self._path, json.dumps(parts).encode())


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all, also where a runner tries a step twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _lines(values: Iterable[str]) -> bytes:
    # A vocabulary has a value a line, whatever the value holds.
    return "".join(" ".join(value.split("\n")) + "\n" for value in values).encode()
