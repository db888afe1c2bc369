"""The users of a log and their ages: Parquet, CSV or tab-separated, with `user_id`, `age`.

Tab-separated files are those of Last.fm data sets: `userid-profile.tsv` of Last.fm-1K, whose
columns have other names if any, `LFM-1b_users.txt`, and LFM-2b's `users.tsv`, where an age of -1 is
an unknown one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_pipelines.rules.checks import content_of
from beam_pipelines.rules.hashing import IdHasher
from beam_pipelines.rules.parsing import parse_int, parse_text
from beam_pipelines.rules.rows import RawListens, RejectedRow
from beam_pipelines.sources.base import ROWS_PER_BATCH
from beam_pipelines.sources.delimited import read_delimited, read_first_rows, read_header
from beam_pipelines.sources.files import check_unchanged, suffix_of, unreadable, version_of
from cosernn_tf.errors import UserError
from cosernn_tf.schema import AGE_UNKNOWN, USER_SCHEMA

_TAB_SEPARATED: Final = (".tsv", ".txt")
SUFFIXES: Final = (".parquet", ".csv", *_TAB_SEPARATED)
_PROFILE: Final = ("user_id", "gender", "age", "country", "registered")
_OLDEST: Final = 130


def check_users_file(path: Path) -> None:
    """Raises `UserError` unless the file has the columns of users."""
    try:
        names = (
            pq.read_schema(path).names if suffix_of(path) == ".parquet" else _layout(str(path))[0]
        )
    except (pa.ArrowException, OSError) as error:
        raise unreadable(f"--users={path}", error, "damaged or no Parquet file") from error
    expected = ", ".join(USER_SCHEMA.names)
    if set(names).isdisjoint(USER_SCHEMA.names):
        # Not quoted: they may be the first user.
        raise UserError(f"--users={path} has no column {expected} in its first line")
    missing = [name for name in USER_SCHEMA.names if name not in names]
    if missing:
        raise UserError(
            f"--users={path} has no column {', '.join(missing)} (it has {', '.join(names)}): "
            f"expected {expected}"
        )
    for name in USER_SCHEMA.names:
        if list(names).count(name) > 1:
            raise UserError(f"--users={path} has the column {name} more than once")


Users = tuple[pa.Table, tuple[RejectedRow, ...]]
"""A table of `user_id`, `age` (`AGE_UNKNOWN` for null), and bad rows."""


def read_users(path: str, hasher: IdHasher | None = None) -> Iterator[Users]:
    """The users of a file, batch by batch, their ids hashed if there is a hasher.

    Raises:
        UserError: The file is damaged, or changes while it is read.
    """
    version = version_of(path)
    is_parquet = suffix_of(Path(path)) == ".parquet"
    yield from (_read_parquet if is_parquet else _read_text)(path, hasher)
    check_unchanged(path, version)


def _read_text(path: str, hasher: IdHasher | None) -> Iterator[Users]:
    is_tabbed = suffix_of(Path(path)) in _TAB_SEPARATED
    names, has_header = _layout(path)
    for raw in read_delimited(
        path,
        delimiter="\t" if is_tabbed else ",",
        names=names,
        has_header=has_header,
        quoted=not is_tabbed,
        kept=USER_SCHEMA.names,
    ):
        yield _check(raw, hasher)


def _read_parquet(path: str, hasher: IdHasher | None) -> Iterator[Users]:
    first = 1
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=USER_SCHEMA.names):
                rows = np.arange(first, first + batch.num_rows)
                first += batch.num_rows
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                yield _check(RawListens(columns, rows), hasher)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(f"--users={path}", error, "damaged") from error


def _layout(path: str) -> tuple[Sequence[str], bool]:
    """The names of the columns of a text file, and whether a header has them."""
    if suffix_of(Path(path)) not in _TAB_SEPARATED:
        return read_header(path, delimiter=","), True
    (first, *_) = read_first_rows(path, delimiter="\t", count=1, quoted=False) or [[]]
    names = [name.strip().replace("-", "_") for name in first]
    is_named = set(USER_SCHEMA.names) <= set(names)
    if len(names) == len(_PROFILE) and not is_named:
        return _PROFILE, first[0].startswith("#")
    return names, True


def _check(raw: RawListens, hasher: IdHasher | None) -> Users:
    columns = {name: raw.columns.get(name, pa.nulls(0)) for name in USER_SCHEMA.names}
    ids, bad_id = parse_text(columns["user_id"])
    ages, bad_age = parse_int(columns["age"])
    years = np.asarray(pc.fill_null(ages, AGE_UNKNOWN).to_numpy(zero_copy_only=False), np.int64)
    is_known = ages.is_valid().to_numpy(zero_copy_only=False)
    bad_age = bad_age | (is_known & ((years < AGE_UNKNOWN) | (years > _OLDEST)))
    missing = bad_id | ids.is_null().to_numpy(zero_copy_only=False)
    is_good = ~(missing | bad_age)
    # Reasons of their own, so that counters of listens stay theirs.
    malformed = [replace(row, reason=f"users_{row.reason}") for row in raw.malformed]
    if hasher is not None:
        malformed = [row.without_content() for row in malformed]
        columns = {"user_id": ids, "age": ages}
    rejected = [
        RejectedRow(
            int(raw.rows[row]),
            "users_missing_user_id" if missing[row] else "users_bad_age",
            content_of(columns, row, hasher),
        )
        for row in np.flatnonzero(~is_good).tolist()
    ]
    table = pa.table({"user_id": ids, "age": pa.array(years)}).filter(pa.array(is_good))
    return table if hasher is None else hasher.table(table), (*malformed, *rejected)
