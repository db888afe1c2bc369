"""The output of an older run, where a newer one goes on (`--append`)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.rules.cut import CUT_SCHEMA, restore
from beam_pipelines.rules.retained import Reopened, of_bucket
from beam_pipelines.rules.state import (
    CUT_TRACKS,
    STREAM_SOURCES,
    Inputs,
    cut_name,
    from_parquet,
    listens_name,
)
from cosernn_tf.dataset import checked_shard
from cosernn_tf.record_reader import read_records
from cosernn_tf.sessions import recode
from cosernn_tf.table import SessionTable, extend
from cosernn_tf.workspace import Manifest, SessionsDirectory

_SAMPLE: Final = 1000


@dataclass(frozen=True)
class Older:
    """An older output; every worker must reach it.

    All that is read is checked by the manifest, and what is damaged or missing is a `UserError`.
    """

    path: Path
    manifest: Manifest
    inputs: Inputs

    @property
    def sessions(self) -> SessionsDirectory:
        # Anew, as it keeps what it has read, and this goes with the steps to the workers.
        return SessionsDirectory(self.path, self.manifest)

    @property
    def num_shards(self) -> int:
        return len(self.manifest.shards)

    def tracks(self) -> pa.Table:
        """`value`, `listens` of all tracks that it has seen: the vocabulary, then what was cut."""
        cut_tracks = from_parquet(self.sessions.state(CUT_TRACKS))
        tracks = pa.concat_tables([self.sessions.tracks, cut_tracks])
        return tracks.rename_columns(["value", "listens"])

    def sample_of_tracks(self) -> list[str]:
        """A few ids, evenly from all of the vocabulary."""
        tracks = self.tracks()["value"]
        rows = np.unique(np.linspace(0, len(tracks), _SAMPLE, endpoint=False, dtype=np.int64))
        return tracks.take(pa.array(rows[: len(tracks)])).to_pylist()

    def stream_sources(self) -> pa.Table:
        """`value`, `listens` of `unknown` and of all sources that occur in its training split."""
        sources = from_parquet(self.sessions.state(STREAM_SOURCES))
        return sources.rename_columns(["value", "listens"])

    def reopened(self, bucket: int, num_buckets: int) -> Reopened:
        """The users of a bucket, which is a part of a shard."""
        name = listens_name(bucket % self.num_shards, self.num_shards)
        with pq.ParquetFile(pa.BufferReader(self.sessions.state(name))) as file:
            row_groups = map(file.read_row_group, range(file.num_row_groups))
            listens = of_bucket(row_groups, bucket, num_buckets)
        return Reopened.of(listens, self.manifest.split.validation_start)

    def shard(
        self, number: int, *, track_rows: np.ndarray, source_rows: np.ndarray
    ) -> "OlderShard":
        """A shard, with the new rows of `tracks` and of `stream_sources`."""
        shard = self.manifest.shards[number]
        cells = CUT_SCHEMA.empty_table()
        if (name := cut_name(number, self.num_shards)) in self.manifest.state:
            cells = from_parquet(self.sessions.state(name))
        return OlderShard(
            records=checked_shard(self.sessions, shard),
            path=self.path / shard.name,
            cells=cells,
            track_rows=track_rows,
            source_rows=source_rows,
        )

    def rejected(self, file: str) -> list[bytes]:
        """The lines of the rejected rows of a file of listens, if it has some."""
        if file not in self.inputs.listens:
            return []
        rejected = self.path / self.inputs.rejected_name(file)
        return [rejected.read_bytes()] if rejected.is_file() else []


@dataclass(frozen=True)
class OlderShard:
    """A shard in memory, as it is stored."""

    path: Path
    records: bytes
    cells: pa.Table
    """What was cut from it, of `CUT_SCHEMA`."""
    track_rows: np.ndarray
    source_rows: np.ndarray
    """New rows of its tracks and stream sources."""

    def extended(self, newer: SessionTable) -> SessionTable:
        """The users of `newer`, each with the sessions here before the first there.

        Tracks and stream sources are new rows.
        """
        table = read_records(self.records, where=self.path, users=set(newer.user_id.tolist()))
        table = restore(table, self.cells)
        table = recode(table, track=self.track_rows, stream_source=self.source_rows)
        return extend(table, newer)
