"""Rows of Parquet files, row group by row group."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import BYTES_PER_BATCH, LISTENS_PER_UNIT, ROWS_PER_BATCH, Unit
from beam_pipelines.sources.files import unreadable

_BUFFER_BYTES: Final = 2**18
_DAMAGES: Final = (pa.ArrowException, OSError, ValueError, LookupError, OverflowError)
"""What reading a damaged file may raise: names in it that are no text, places that are none."""
_UNITS: Final = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


def schema_of(path: Path) -> pa.Schema:
    """Raises `UserError` for a damaged file."""
    try:
        return pq.read_schema(path)
    except _DAMAGES as error:
        raise unreadable(path, error, "damaged or no Parquet file") from error


def row_groups(path: Path) -> list[Unit]:
    """Units of consecutive row groups, each of `LISTENS_PER_UNIT` or of one row group.

    Raises:
        UserError: The file is damaged.
    """
    try:
        metadata = pq.read_metadata(path)
        groups = [metadata.row_group(part) for part in range(metadata.num_row_groups)]
    except _DAMAGES as error:
        raise unreadable(path, error, "damaged or no Parquet file") from error
    firsts = accumulate((group.num_rows for group in groups), initial=1)
    units: list[Unit] = []
    for part, (first, group) in enumerate(zip(firsts, groups, strict=False)):
        listens = _num_values(group)
        last = units[-1] if units else None
        if last is not None and last.listens is not None and last.listens < LISTENS_PER_UNIT:
            listens += last.listens
            units[-1] = replace(last, parts=part + 1 - last.part, listens=listens)
        elif group.num_rows:
            units.append(Unit(str(path), part, first, listens=listens))
    return units


def _num_values(group: pq.RowGroupMetaData) -> int:
    """The rows of a row group, or of the lists in them."""
    counts = (group.column(column).num_values for column in range(group.num_columns))
    return max(counts, default=0)


def read_row_groups(
    unit: Unit,
    names: Sequence[str],
    *,
    dictionaries: Sequence[str] = (),
    rows_per_batch: int = ROWS_PER_BATCH,
) -> Iterator[RawListens]:
    """Batches of the row groups of a unit, with those of the columns that the file has.

    Pages are checked against their checksums, where the writer made any, and values against the
    row groups' statistics: Arrow reads a page that a disk has filled with zeros as if it were one.

    Args:
        unit: The row groups.
        names: Of the columns to read.
        dictionaries: Those of them that repeat few texts, as dictionaries: as most files hold them.
        rows_per_batch: At most.

    Raises:
        UserError: The file is damaged.
    """
    first, part = unit.first_row, unit.part
    try:
        metadata = pq.read_metadata(unit.path)
        with pq.ParquetFile(
            unit.path,
            metadata=metadata,
            page_checksum_verification=True,
            read_dictionary=[name for name in dictionaries if name in metadata.schema.names],
            # Page by page: a row group may be larger than memory.
            pre_buffer=False,
            buffer_size=_BUFFER_BYTES,
        ) as file:
            for part in range(unit.part, unit.part + unit.parts):
                for batch in _batches(file, part, names, rows_per_batch=rows_per_batch):
                    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                    yield RawListens(columns, np.arange(first, first + batch.num_rows))
                    first += batch.num_rows
    except _DAMAGES as error:
        raise unreadable(unit.path, error, f"damaged in row group {part}") from error


class _DamageError(ValueError):
    """A row group is not what the file says of it."""


def _batches(
    file: pq.ParquetFile, part: int, names: Sequence[str], *, rows_per_batch: int
) -> Iterator[pa.RecordBatch]:
    group = file.metadata.row_group(part)
    found = [name for name in names if name in file.schema_arrow.names]
    ranges = _ranges(group, file.schema_arrow, found)
    fitting = BYTES_PER_BATCH * group.num_rows // max(group.total_byte_size, 1)
    size = max(1, min(rows_per_batch, fitting))
    missing = group.num_rows
    for batch in file.iter_batches(size, [part], found, use_threads=False):
        _check_ranges(batch, ranges)
        missing -= batch.num_rows
        yield batch
    if missing:
        raise _DamageError(f"{missing:,} rows are missing")


def _ranges(
    group: pq.RowGroupMetaData, schema: pa.Schema, names: Sequence[str]
) -> dict[str, tuple[Any, Any]]:
    """Least and greatest value of columns by the file's statistics: integers and bytes.

    They need not occur: a writer may store a shorter text below the least, or above the greatest.
    """
    ranges = {}
    for place in range(group.num_columns):
        column = group.column(place)
        name = column.path_in_schema
        if name not in names or not column.is_stats_set or not column.statistics.has_min_max:
            continue
        statistics = column.statistics
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        stored_as_is = pa.types.is_signed_integer(kind) or pa.types.is_string(kind)
        if pa.types.is_timestamp(kind):
            unit = json.loads(statistics.logical_type.to_json()).get("timeUnit")
            stored_as_is = _UNITS.get(unit) == kind.unit
        if stored_as_is:
            ranges[name] = (statistics.min_raw, statistics.max_raw)
    return ranges


def _check_ranges(batch: pa.RecordBatch, ranges: dict[str, tuple[Any, Any]]) -> None:
    for name, (least, greatest) in ranges.items():
        column = batch[name]
        if pa.types.is_dictionary(column.type):
            if _is_within(column.dictionary, least, greatest):
                continue
            column = column.dictionary_decode()  # there may be values that no row has
        if not _is_within(column, least, greatest):
            raise _DamageError(
                f"values of {name} are outside of the range that the file says they have"
            )


def _is_within(column: pa.Array, least: int | bytes, greatest: int | bytes) -> bool:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    elif pa.types.is_string(column.type):
        column = column.cast(pa.binary())  # whose order is that of UTF-8
    found = pc.min_max(column).as_py()
    return found["min"] is None or (least <= found["min"] and found["max"] <= greatest)
