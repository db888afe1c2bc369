"""The users of a log and their ages: Parquet or CSV with `user_id`, `age`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_pipelines.rules.parsing import parse_int, parse_text
from beam_pipelines.sources.base import ROWS_PER_BATCH, RejectedRow
from beam_pipelines.sources.files import suffix_of
from beam_pipelines.sources.text import read_delimited, read_header
from cosernn_tf.errors import UserError
from cosernn_tf.schema import AGE_UNKNOWN, USER_SCHEMA

SUFFIXES: Final = (".parquet", ".csv")
_OLDEST: Final = 130


def check_users_file(path: Path) -> None:
    """Raises `UserError` unless the file has the columns of users."""
    try:
        names = (
            pq.read_schema(path).names
            if suffix_of(path) == ".parquet"
            else read_header(str(path), delimiter=",")
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"--users={path} cannot be read: {error}") from error
    missing = [name for name in USER_SCHEMA.names if name not in names]
    if missing:
        raise UserError(
            f"--users={path} has no column {', '.join(missing)} (it has {', '.join(names)}): "
            f"expected {', '.join(USER_SCHEMA.names)}"
        )


def read_users(path: str) -> Iterator[tuple[pa.Table, tuple[RejectedRow, ...]]]:
    """Batches of users: tables of `user_id`, `age` (`AGE_UNKNOWN` for null), and bad rows.

    Raises:
        UserError: The file is damaged.
    """
    if suffix_of(Path(path)) == ".parquet":
        yield from _read_parquet(path)
        return
    names = read_header(path, delimiter=",")
    for raw in read_delimited(path, delimiter=",", names=names, has_header=True, quoted=True):
        if len(raw.rows):
            yield _check(raw.columns["user_id"], raw.columns["age"], raw.rows, raw.malformed)
        else:
            yield _check(pa.nulls(0), pa.nulls(0), raw.rows, raw.malformed)


def _read_parquet(path: str) -> Iterator[tuple[pa.Table, tuple[RejectedRow, ...]]]:
    first = 1
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=USER_SCHEMA.names):
                rows = np.arange(first, first + batch.num_rows)
                first += batch.num_rows
                yield _check(batch["user_id"], batch["age"], rows, ())
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"--users={path} is damaged: {error}") from error


def _check(
    user_id: pa.Array, age: pa.Array, rows: np.ndarray, malformed: tuple[RejectedRow, ...]
) -> tuple[pa.Table, tuple[RejectedRow, ...]]:
    ids, bad_id = parse_text(user_id)
    ages, bad_age = parse_int(age)
    years = np.asarray(pc.fill_null(ages, AGE_UNKNOWN).to_numpy(zero_copy_only=False), np.int64)
    is_known = ages.is_valid().to_numpy(zero_copy_only=False)
    bad_age = bad_age | (is_known & ((years < 0) | (years > _OLDEST)))
    missing = bad_id | ids.is_null().to_numpy(zero_copy_only=False)
    is_good = ~(missing | bad_age)
    rejected = [
        RejectedRow(
            int(rows[row]),
            "users_missing_user_id" if missing[row] else "users_bad_age",
            str({"user_id": user_id[row].as_py(), "age": age[row].as_py()}),
        )
        for row in np.flatnonzero(~is_good).tolist()
    ]
    table = pa.table({"user_id": ids, "age": pa.array(years)}).filter(pa.array(is_good))
    return table, (*malformed, *rejected)
