"""Where a run leaves what a later one needs to add newer listens (`state/`, WORKSPACE.md)."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from cosernn_tf.errors import UserError
from cosernn_tf.whole_files import write_parquet

STATE: Final = "state"
CUT_TRACKS: Final = f"{STATE}/cut_tracks.parquet"
"""`track_id`, `train_listens`: tracks that the vocabulary has not, in its order."""
STREAM_SOURCES: Final = f"{STATE}/stream_sources.parquet"
"""`stream_source`, `train_listens`: `unknown`, then all that occur in training."""
INPUTS: Final = f"{STATE}/inputs.json"
"""`Inputs`, and the version of all of these files."""
VERSION: Final = 1


def listens_name(number: int, num_shards: int) -> str:
    """Listens of `retained.RETAINED_SCHEMA` of a shard's users."""
    return f"{STATE}/listens-{number:05d}-of-{num_shards:05d}.parquet"


def cut_name(number: int, num_shards: int) -> str:
    """What was cut from a shard, of `cut.CUT_SCHEMA`; there is none if nothing was."""
    return f"{STATE}/cut-{number:05d}-of-{num_shards:05d}.parquet"


@dataclass(frozen=True)
class Inputs:
    """The files that a run has read, in the order in which its rejected rows are numbered."""

    listens: tuple[str, ...]
    users: tuple[str, ...]
    are_paths: bool = True
    """Or what files are called where ids are hashed, in the order of the runs."""

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.listens, *self.users)

    def to_json(self) -> bytes:
        fields = {"version": VERSION, **asdict(self)}
        return (json.dumps(fields, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Inputs":
        """Raises `UserError` if a program of another version wrote it."""
        fields = json.loads(data)
        if fields["version"] != VERSION:
            raise UserError(
                f"{INPUTS} has version {fields['version']}, this program goes on from {VERSION}: "
                "run without --append, over the whole log"
            )
        return cls(tuple(fields["listens"]), tuple(fields["users"]), fields["are_paths"])

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {file: number for number, file in enumerate(self.files)}

    def rejected_name(self, file: str) -> str:
        """The file of the rejected rows of a file."""
        return f"rejected.jsonl-{self._numbers[file]:05d}-of-{len(self.files):05d}"

    def with_newer(self, newer: "Inputs") -> "Inputs":
        """As of one run over both; of the users' files, those of the run that had some last."""
        listens = dict.fromkeys([*self.listens, *newer.listens])
        in_order = sorted(listens, key=Path) if self.are_paths else listens
        return Inputs(tuple(in_order), newer.users or self.users, self.are_paths)


def write_state(
    directory: Path, name: str, tables: Iterable[pa.Table], schema: pa.Schema
) -> dict[str, str]:
    """Writes a Parquet file of what a later run needs, a row group for each table.

    Returns:
        Its checksum, by name.
    """
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    return {name: write_parquet(path, tables, schema).sha256}


def from_parquet(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))
