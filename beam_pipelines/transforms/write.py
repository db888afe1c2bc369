"""Writes shards, vocabularies and rejected rows into the staging directory."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from absl import logging

from beam_pipelines.rules.cut import CUT_SCHEMA, by_user, cut
from beam_pipelines.rules.late import merged_rejected
from beam_pipelines.rules.older import Older, OlderShard
from beam_pipelines.rules.retained import RETAINED_SCHEMA, RetainedParts, retained_in_order
from beam_pipelines.rules.spill import Part, Spill, from_bytes, load, load_array, load_pieces
from beam_pipelines.rules.state import (
    CUT_TRACKS,
    STREAM_SOURCES,
    Inputs,
    cut_name,
    listens_name,
    write_state,
)
from beam_pipelines.rules.vocabulary import SOURCE_SCHEMA, TRACK_SCHEMA, divided, in_row_order
from beam_pipelines.transforms.sequence import SESSIONS, CodedSessions, Sequenced, unpickled
from beam_pipelines.transforms.vocabulary import RANKS, Vocabulary
from cosernn_tf.errors import UserError
from cosernn_tf.records import framed_records
from cosernn_tf.schema import DEVICES
from cosernn_tf.sessions import recode
from cosernn_tf.table import SessionTable, in_blocks
from cosernn_tf.whole_files import write_parquet, write_whole
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    STREAM_SOURCE_VOCABULARY,
    TRACK_VOCABULARY,
    to_lines,
)

REPORT: Final = "report.json"
"""What the steps say of what they wrote; read and removed by the job."""

_PROGRESS_SECONDS: Final = 5
_SESSIONS_AT_ONCE: Final = 2**15
"""Of whole users, that are made records, which takes some kilobytes for each."""
_TRACKS_AT_ONCE: Final = 2**20
"""Rows of a row group of the vocabulary."""
_LISTENS_AT_ONCE: Final = 2**17
"""About so many are in a row group of retained listens."""


def shard_name(number: int, num_shards: int) -> str:
    """In the form that TensorFlow Datasets looks for: data set "sessions", split "users"."""
    return f"sessions-users.tfrecord-{number:05d}-of-{num_shards:05d}"


class WriteShard(beam.DoFn):
    """Writes the TFRecord file of a shard, from the coded sessions and the rows of its buckets.

    With an older output, each user's sessions that are frozen there come first.
    """

    def __init__(
        self, directory: str, num_shards: int, spill: Spill, *, older: Older | None = None
    ) -> None:
        self._directory = Path(directory)
        self._num_shards = num_shards
        self._spill = spill
        self._older = older

    def process(
        self,
        element: tuple[int, dict[str, Iterable[tuple[int, Any]]]],
        vocabulary: Vocabulary,
        older_rows: Part | None = None,
    ) -> Iterator[dict[str, Any]]:
        number, inputs = element
        ranks: dict[int, list[tuple[int, Part]]] = {}
        for bucket, of_range in inputs[RANKS]:
            ranks.setdefault(bucket, []).append(of_range)
        older = None
        if self._older is not None and older_rows is not None:
            try:
                older = self._older.shard(
                    number,
                    track_rows=load_array(older_rows, np.int32),
                    source_rows=vocabulary.source_rows(self._older.stream_sources()["value"]),
                )
            except UserError as error:
                yield {"failure": str(error)}
                return
        buckets = [
            self._serialize(sequenced, ranks.get(bucket, []), vocabulary, older=older)
            for bucket, sequenced in sorted(inputs[SESSIONS], key=itemgetter(0))
        ]
        name = shard_name(number, self._num_shards)
        owners = owners_in_order([bucket.user_id for bucket in buckets])
        written = write_whole(self._directory / name, records_in_order(buckets, owners))
        logging.log_every_n_seconds(logging.INFO, "Wrote %s", _PROGRESS_SECONDS, name)
        yield {
            "shard": {
                "name": name,
                "users": sum(len(bucket.user_id) for bucket in buckets),
                "sessions": sum(bucket.num_sessions for bucket in buckets),
                "sha256": written.sha256,
            },
            "bytes": written.length,
            "state": self._write_state(number, buckets, owners),
        }

    def _serialize(
        self,
        sequenced: Sequenced,
        ranks: Iterable[tuple[int, Part]],
        vocabulary: Vocabulary,
        *,
        older: OlderShard | None,
    ) -> "BucketRecords":
        coded: CodedSessions = unpickled(sequenced.coded)
        table = recode(
            coded.table,
            track=vocabulary.track_rows(coded.track_order, ranks),
            stream_source=vocabulary.source_rows(coded.stream_source),
        )
        if older is not None:
            table = older.extended(table)
        table, cells = cut(
            table,
            num_tracks=vocabulary.num_tracks,
            num_stream_sources=vocabulary.num_stream_sources,
        )
        lengths: list[np.ndarray] = []
        parts = self._spill.put(_records_in_blocks(table, lengths))
        return BucketRecords(
            user_id=table.user_id,
            blocks=tuple(zip(parts, lengths, strict=True)),
            num_sessions=table.num_sessions,
            cells=cells,
            retained=sequenced.retained,
        )

    def _write_state(
        self, number: int, buckets: Sequence["BucketRecords"], owners: np.ndarray
    ) -> dict[str, str]:
        """The files that a later run needs, if state is kept, and their checksums."""
        retained = [bucket.retained for bucket in buckets if bucket.retained is not None]
        if not retained:
            return {}
        name = listens_name(number, self._num_shards)
        tables = retained_in_order(retained, owners, rows_at_once=_LISTENS_AT_ONCE)
        state = write_state(self._directory, name, tables, RETAINED_SCHEMA)
        cells = by_user(bucket.cells for bucket in buckets)
        if cells.num_rows:
            name = cut_name(number, self._num_shards)
            state |= write_state(self._directory, name, [cells], CUT_SCHEMA)
        return state


@dataclass(frozen=True)
class BucketRecords:
    """The records of a bucket's users, in the users' order."""

    user_id: np.ndarray
    """(users,) object: bytes, ascending."""
    blocks: tuple[tuple[Part, np.ndarray], ...]
    """The records of some users after the others, and the length of each, bytes."""
    num_sessions: int
    cells: pa.Table
    """What was cut from them, of `cut.CUT_SCHEMA`."""
    retained: RetainedParts | None
    """As of `Sequenced`."""


def _records_in_blocks(table: SessionTable, lengths: list[np.ndarray]) -> Iterator[np.ndarray]:
    """The records of some users at a time; fills `lengths` with those of each block's records."""
    for block in in_blocks([table], max_sessions=_SESSIONS_AT_ONCE):
        records = framed_records(block)
        lengths.append(np.diff(records.splits))
        yield records.data


def owners_in_order(user_ids: Sequence[np.ndarray]) -> np.ndarray:
    """(users of all,) which of the buckets each user is in, the users in order.

    Args:
        user_ids: Of each bucket, ascending.
    """
    owners = np.repeat(np.arange(len(user_ids)), [len(user_id) for user_id in user_ids])
    return owners[np.argsort(np.concatenate(user_ids), kind="stable")]


def records_in_order(buckets: Sequence[BucketRecords], owners: np.ndarray) -> Iterator[bytes]:
    """The records of all buckets in the order of the users, each read when its turn comes."""
    # A bucket's own are in order, so that it is read once through.
    records = [
        chain.from_iterable(load_pieces(part, lengths.tolist()) for part, lengths in bucket.blocks)
        for bucket in buckets
    ]
    for number in owners.tolist():
        yield next(records[number])


class WriteVocabulary(beam.DoFn):
    """Writes the three vocabularies and, if state is kept, what they leave out."""

    def __init__(self, directory: str, spill: Spill, *, keeps_state: bool) -> None:
        self._directory = Path(directory)
        self._spill = spill
        self._keeps_state = keeps_state

    def process(self, vocabulary: Vocabulary) -> Iterator[dict[str, Any]]:
        (self._directory / TRACK_VOCABULARY).parent.mkdir(exist_ok=True)
        files = {
            DEVICE_VOCABULARY: to_lines(DEVICES),
            STREAM_SOURCE_VOCABULARY: to_lines(
                vocabulary.stream_sources["stream_source"]
                .slice(0, vocabulary.num_stream_sources)
                .to_pylist()
            ),
        }
        written = {
            name: write_whole(self._directory / name, [data]) for name, data in files.items()
        }
        tracks, cut_tracks = divided(self._tracks(vocabulary), vocabulary.num_tracks)
        written[TRACK_VOCABULARY] = write_parquet(
            self._directory / TRACK_VOCABULARY, tracks, TRACK_SCHEMA
        )
        state: dict[str, str] = {}
        if self._keeps_state:
            sources = [vocabulary.stream_sources]
            state |= write_state(self._directory, STREAM_SOURCES, sources, SOURCE_SCHEMA)
            state |= write_state(self._directory, CUT_TRACKS, cut_tracks, TRACK_SCHEMA)
        yield {
            "vocabularies": {name: of_file.sha256 for name, of_file in sorted(written.items())},
            "tracks": vocabulary.num_tracks,
            "state": state,
        }

    def _tracks(self, vocabulary: Vocabulary) -> Iterator[pa.Table]:
        return in_row_order(
            (from_bytes(load(found.tracks)) for found in vocabulary.ranges),
            load_array(vocabulary.rows, np.int32),
            self._spill,
            rows_at_once=_TRACKS_AT_ONCE,
        )


class WriteRejected(beam.DoFn):
    """Writes the rejected rows of a file, in its order, from the parts of its batches.

    With an older output, the rows of different parts may alternate.
    """

    def __init__(self, directory: str, inputs: Inputs, *, older: Older | None = None) -> None:
        self._directory = Path(directory)
        self._inputs = inputs
        self._older = older

    def process(self, element: tuple[str, Iterable[tuple[int, Part]]]) -> None:
        name, parts = element
        lines = (load(part) for _, part in sorted(parts, key=itemgetter(0)))
        write_whole(
            self._directory / self._inputs.rejected_name(name),
            lines
            if self._older is None
            else merged_rejected([*self._older.rejected(name), *lines]),
        )


class WriteReport(beam.DoFn):
    """Writes what all steps have said, for the job to make the manifest of."""

    def __init__(self, directory: str) -> None:
        self._path = Path(directory) / REPORT

    def process(self, parts: list[dict[str, Any]]) -> None:
        write_whole(self._path, [json.dumps(parts).encode()])
