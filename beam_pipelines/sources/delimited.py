"""Rows of delimited text, batch by batch, bad rows kept aside."""

import contextlib
import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from beam_pipelines.rules.rows import RawListens, RejectedRow, malformed_row
from beam_pipelines.sources.base import BYTES_PER_BLOCK
from beam_pipelines.sources.files import open_text, unreadable
from beam_pipelines.sources.quotes import CheckedQuotes
from beam_pipelines.sources.ragged import ShowableRows
from cosernn_tf.errors import UserError

_FIRST_BYTES: Final = 2**16
"""Read for the sake of the first rows; more where they are longer."""
_ROW: Final = re.compile(r"CSV parse error: Row #(\d+)")
_MOST_MALFORMED: Final = 2**18
"""In a row, held until a good one comes: a file that has more is no delimited text."""


def read_header(path: str, *, delimiter: str) -> list[str]:
    """The names in the first line of a delimited file.

    Raises:
        UserError: The file cannot be read, or has no first line.
    """
    header = next(iter(read_first_rows(path, delimiter=delimiter, count=1)), None)
    if not header:
        what = "is empty" if header is None else "begins with an empty line"
        raise UserError(f"{path} {what}: expected a header with the names of the columns")
    return [name.strip() for name in header]


def read_first_rows(
    path: str, *, delimiter: str, count: int, quoted: bool = True
) -> list[list[str]]:
    """The fields of the first rows of a delimited file, fewer where the file is shorter.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        start = _first_lines(path, count)
        if quoted:
            text = io.StringIO(start.decode(errors="replace"), newline="")
            return list(islice(csv.reader(text, delimiter=delimiter), count))
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error, "damaged") from error
    except csv.Error as error:
        raise UserError(f"{path} does not begin with a header: {error}") from error
    # Bytes that are not UTF-8 may be of a row further on.
    lines = [line.decode(errors="replace") for line in start.splitlines()[:count]]
    return [line.split(delimiter) if line else [] for line in lines]


def _first_lines(path: str, count: int) -> bytes:
    """At least so many lines, unless there are fewer or they are too long."""
    start = b""
    with open_text(path) as stream:
        while block := stream.read(len(start) or _FIRST_BYTES):
            start += block
            if start.count(b"\n") + start.count(b"\r") > count or len(start) >= BYTES_PER_BLOCK:
                break
    return start


def read_delimited(
    path: str,
    *,
    delimiter: str,
    names: Sequence[str],
    has_header: bool,
    quoted: bool,
    kept: Sequence[str] | None = None,
) -> Iterator[RawListens]:
    """Batches of a delimited file, every column as text; empty fields are null.

    Args:
        path: Of the file; its suffix tells the compression.
        delimiter: One character.
        names: Of all columns.
        has_header: Skip the first line.
        quoted: Fields may be quoted, and then hold delimiters and newlines.
        kept: The columns to read; None: all.

    Raises:
        UserError: The file is damaged, or has a quote that hides where its rows end.
    """
    kept = list(names if kept is None else kept)
    # Not yet in a batch. They are numbered in the file, all rows counted.
    malformed: list[RejectedRow] = []
    header_lines = int(has_header)
    first = 1

    def keep_aside(invalid: Any) -> str:
        malformed.append(malformed_row(invalid.number - header_lines, invalid.text))
        return "skip" if len(malformed) < _MOST_MALFORMED else "error"

    def open_again() -> Any:
        return open_text(path)

    try:
        stream = CheckedQuotes(open_again, path, delimiter=delimiter) if quoted else open_again()
        lines = ShowableRows(stream, delimiter=delimiter, num_fields=len(names), quoted=quoted)
        with contextlib.closing(lines):
            reader = pyarrow.csv.open_csv(
                lines,
                pyarrow.csv.ReadOptions(
                    # Only a single thread can say which row is malformed.
                    use_threads=False,
                    column_names=list(names),
                    skip_rows=header_lines,
                    block_size=BYTES_PER_BLOCK,
                ),
                pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if quoted else False,
                    newlines_in_values=quoted,
                    invalid_row_handler=keep_aside,
                ),
                pyarrow.csv.ConvertOptions(
                    # Not yet strings: a byte that is not UTF-8 is one row's fault.
                    column_types=dict.fromkeys(kept, pa.binary()),
                    include_columns=kept,
                    strings_can_be_null=True,
                    null_values=[""],
                ),
            )
            for batch in reader:
                # The reader parses a block ahead: some of these rows may be of the next batch.
                rows, known = _row_numbers(first, batch.num_rows, malformed)
                part = tuple(malformed[:known])
                del malformed[:known]
                first += batch.num_rows + known
                yield RawListens(dict(zip(kept, batch.columns, strict=True)), rows, part)
            if malformed:
                yield RawListens({}, np.zeros(0, np.int64), tuple(malformed))
            if isinstance(stream, CheckedQuotes):
                stream.check_end()
    except (OSError, pa.ArrowException) as error:
        raise _what_is_wrong(path, error, first, malformed) from error


def _what_is_wrong(
    path: str, error: Exception, row: int, malformed: Sequence[RejectedRow]
) -> UserError:
    """The error of a file that cannot be read from somewhere behind row `row` on."""
    if len(malformed) >= _MOST_MALFORMED:
        return UserError(
            f"{path} is no delimited text like its first line: {len(malformed):,} rows from row "
            f"{malformed[0].row:,} on have another number of fields"
        )
    if "straddling" in str(error):
        return UserError(
            f"{path} has a row of more than {BYTES_PER_BLOCK // 2**20} MiB, after row {row - 1:,}"
        )
    if found := _ROW.search(str(error)):
        # Its text stays here: it may hold an id.
        return UserError(
            f"{path} has a row that is no UTF-8 and has another number of fields than its first "
            f"line: number {found[1]}, the header counted"
        )
    return unreadable(path, error, "damaged or no delimited text")


def _row_numbers(
    first: int, count: int, malformed: Sequence[RejectedRow]
) -> tuple[np.ndarray, int]:
    """Numbers of `count` rows from `first` on around the malformed ones, and how many these are.

    They are those that stand before, between and right behind the rows.
    """
    # The good row that each would be, were there no malformed ones before it.
    places = np.array([bad.row for bad in malformed], np.int64) - np.arange(len(malformed))
    rows = np.arange(first, first + count)
    rows += np.searchsorted(places, rows, side="right")
    return rows, int(np.searchsorted(places, first + count, side="right"))
