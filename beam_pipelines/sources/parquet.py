"""Rows of Parquet files, row group by row group."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import ROWS_PER_BATCH, Unit
from cosernn_tf.errors import UserError


def schema_of(path: Path) -> pa.Schema:
    """Raises `UserError` for a damaged file."""
    return _metadata(path).schema.to_arrow_schema()


def row_groups(path: Path) -> list[Unit]:
    """A unit a row group with rows. Raises `UserError` for a damaged file."""
    metadata = _metadata(path)
    groups = [metadata.row_group(part) for part in range(metadata.num_row_groups)]
    firsts = accumulate((group.num_rows for group in groups), initial=1)
    return [
        Unit(str(path), part, first, listens=_num_values(group))
        for part, (first, group) in enumerate(zip(firsts, groups, strict=False))
        if group.num_rows
    ]


def _num_values(group: pq.RowGroupMetaData) -> int:
    """The rows of a row group, or of the lists in them."""
    counts = (group.column(column).num_values for column in range(group.num_columns))
    return max(counts, default=0)


def read_row_group(
    unit: Unit, names: Sequence[str], *, rows_per_batch: int = ROWS_PER_BATCH
) -> Iterator[RawListens]:
    """Batches of a row group, with those of the columns that the file has.

    Raises:
        UserError: The file is damaged.
    """
    first = unit.first_row
    try:
        with pq.ParquetFile(unit.path) as file:
            found = [name for name in names if name in file.schema_arrow.names]
            for batch in file.iter_batches(rows_per_batch, [unit.part], found):
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield RawListens(columns, np.arange(first, first + batch.num_rows))
                first += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{unit.path} is damaged in row group {unit.part}: {error}") from error


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is damaged or no Parquet file: {error}") from error
