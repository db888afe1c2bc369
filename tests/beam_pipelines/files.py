"""Logs as files of every form, and as raw batches."""

import bz2
import csv
import gzip
import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.rules.packing import pack, with_dictionaries
from beam_pipelines.rules.rows import RawListens
from beam_pipelines.rules.spill import Part, Spill
from cosernn_tf.schema import LISTEN_SCHEMA

from .logs import Row


def raw_listens(rows: Sequence[Row]) -> RawListens:
    table = as_table(rows).combine_chunks()
    columns = {name: table[name].chunk(0) for name in table.column_names}
    return RawListens(columns, np.arange(1, len(rows) + 1))


def part_of(clean: pa.Table) -> Part:
    """Clean listens as reading hands them on."""
    return Spill().put([pack(with_dictionaries(clean))])[0]


def as_table(rows: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), LISTEN_SCHEMA)


def write_parquet(path: Path, rows: Sequence[Row], *, row_group_size: int = 50) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(as_table(rows), path, row_group_size=row_group_size)
    return path


def write_even_log(path: Path, *, listens: int, users: int, row_group_size: int) -> pa.Table:
    """A log of the three columns that each must have, its values at random."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            "user_id": [f"user-{user}" for user in rng.integers(0, users, listens)],
            "track_id": [f"track-{track}" for track in rng.integers(0, 20_000, listens)],
            "timestamp": rng.integers(1_554_076_800, 1_560_000_000, listens),
        }
    )
    pq.write_table(table, path, row_group_size=row_group_size)
    return table


def write_json_lines(path: Path, rows: Sequence[Row]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return write_bytes(path, text.encode())


def write_csv(path: Path, rows: Sequence[Row]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return write_bytes(path, text.getvalue().encode())


def files_of(folder: Path, *, without: Collection[str] = ()) -> dict[str, bytes]:
    """The content of all files below a folder, but for those of some names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in without
    }


def write_bytes(path: Path, data: bytes) -> Path:
    """Compressed as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = pa.compress(data, codec="zstd", asbytes=True)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    path.write_bytes(data)
    return path
