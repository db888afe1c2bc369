"""Rows of delimited text and of JSON Lines, batch by batch, bad rows kept aside."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from beam_pipelines.rules.rows import MALFORMED, RawListens, RejectedRow
from beam_pipelines.sources.base import BYTES_PER_BLOCK
from beam_pipelines.sources.files import open_stream
from cosernn_tf.errors import UserError

_MAX_CONTENT: Final = 1_000
"""Characters kept of a malformed row."""
_FEW_LINES: Final = 64
"""Lines that are read one by one for the sake of a single odd one among them."""
_PIECES: Final = 32
"""In which more lines are tried again."""


def read_header(path: str, *, delimiter: str) -> list[str]:
    """The names in the first line of a delimited file.

    Raises:
        UserError: The file cannot be read, or is empty.
    """
    header = next(iter(read_first_rows(path, delimiter=delimiter, count=1)), None)
    if not header:
        raise UserError(f"{path} is empty: expected a header with the names of the columns")
    return [name.strip() for name in header]


def read_first_rows(
    path: str, *, delimiter: str, count: int, quoted: bool = True
) -> list[list[str]]:
    """The fields of the first rows of a delimited file, fewer where the file is shorter.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        with io.TextIOWrapper(
            open_stream(path),
            encoding="utf-8-sig",
            # Bytes that are not UTF-8 may be of a row further on.
            errors="replace",
            newline="",
        ) as lines:
            reader = csv.reader(
                lines,
                delimiter=delimiter,
                quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            )
            return list(islice(reader, count))
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


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
        UserError: The file is damaged.
    """
    kept = list(names if kept is None else kept)
    malformed: list[RejectedRow] = []
    # Malformed rows are numbered in the file, all rows counted: `number` counts lines from 1.
    header_lines = int(has_header)

    def keep_aside(row: Any) -> str:
        malformed.append(malformed_row(row.number - header_lines, row.text))
        return "skip"

    try:
        with open_stream(path) as stream:
            reader = pyarrow.csv.open_csv(
                stream,
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
            next_row, before = 1, 0
            for batch in reader:
                # The reader parses a block ahead: some of these rows may be of the next batch.
                rows, known = _row_numbers(next_row, batch.num_rows, malformed[before:])
                part = tuple(malformed[before : before + known])
                before += known
                next_row = (rows[-1] if len(rows) else next_row - 1) + 1
                columns = dict(zip(kept, batch.columns, strict=True))
                yield RawListens(columns, rows, part)
            if malformed[before:]:
                yield RawListens({}, np.zeros(0, np.int64), tuple(malformed[before:]))
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} is damaged or no delimited text: {error}") from error


def _row_numbers(
    first: int, count: int, malformed: Sequence[RejectedRow]
) -> tuple[np.ndarray, int]:
    """Numbers of `count` rows from `first` on around the malformed ones, and how many these are."""
    rows = np.arange(first, first + count)
    known = 0
    for bad in malformed:
        if bad.row > (rows[-1] if count else first):
            break
        rows[rows >= bad.row] += 1
        known += 1
    return rows, known


def read_json_lines(path: str, *, text_columns: Sequence[str]) -> Iterator[RawListens]:
    """Batches of a JSON Lines file, one object a line; blank lines do not count.

    Args:
        path: Of the file; its suffix tells the compression.
        text_columns: Fields that are text, whatever they look like.

    Raises:
        UserError: The file is damaged.
    """
    first_row = 1
    for lines in _blocks_of_lines(path):
        rows = np.arange(first_row, first_row + len(lines))
        first_row += len(lines)
        yield _parse_lines(lines, rows, text_columns)


def _blocks_of_lines(path: str) -> Iterator[list[bytes]]:
    try:
        with open_stream(path) as stream:
            rest = b""
            while block := stream.read(BYTES_PER_BLOCK):
                *whole, rest = (rest + block).split(b"\n")
                yield [line for line in whole if line.strip()]
            if rest.strip():
                yield [rest]
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _parse_lines(lines: list[bytes], rows: np.ndarray, text_columns: Sequence[str]) -> RawListens:
    """All lines at once where they agree in their types, else one by one."""
    if not lines:
        return RawListens({}, rows)
    schema = pa.schema([(name, pa.string()) for name in text_columns])
    table = _parse_at_once(lines, schema, others="infer")
    if table is None or any(map(pa.types.is_nested, table.schema.types)):
        return _parse_one_by_one(lines, rows)
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    return RawListens(columns, rows)


def _parse_at_once(lines: list[bytes], schema: pa.Schema, *, others: str) -> pa.Table | None:
    """A row a line, or None where they are not all objects that agree with the schema."""
    data = b"\n".join(lines)
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            pyarrow.json.ReadOptions(use_threads=True, block_size=len(data) + 1),
            pyarrow.json.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior=others, newlines_in_values=False
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == len(lines) else None


def _parse_one_by_one(lines: list[bytes], rows: np.ndarray) -> RawListens:
    good: list[dict[str, str | None]] = []
    good_rows: list[int] = []
    malformed: list[RejectedRow] = []
    for line, row in zip(lines, rows.tolist(), strict=True):
        try:
            good.append(_fields_as_text(json.loads(line)))
            good_rows.append(row)
        except (ValueError, TypeError, RecursionError):
            malformed.append(malformed_row(row, line.decode("utf-8", "replace")))
    names = dict.fromkeys(name for fields in good for name in fields)
    columns = {name: pa.array([fields.get(name) for fields in good], pa.string()) for name in names}
    return RawListens(columns, np.array(good_rows, np.int64), tuple(malformed))


def _fields_as_text(value: Any) -> dict[str, str | None]:
    if not isinstance(value, dict):
        raise TypeError("a line must be an object")
    fields: dict[str, str | None] = {}
    for name, field in value.items():
        if isinstance(field, (dict, list)):
            raise TypeError(f"{name} must not be nested")
        fields[name] = as_text(field)
    return fields


def read_json_objects(path: str, *, schema: pa.Schema) -> Iterator[RawListens]:
    """Batches of a JSON Lines file of objects in objects, one a line; blank lines do not count.

    Args:
        path: Of the file; its suffix tells the compression.
        schema: The fields to read, objects in objects as structs. A column has its path as its
            name (`track.name`). It is null where a row has nothing of the kind, and all text in a
            batch with a row of other types.

    Raises:
        UserError: The file is damaged.
    """
    first_row = 1
    for lines in _blocks_of_lines(path):
        rows = np.arange(first_row, first_row + len(lines))
        first_row += len(lines)
        if lines:
            yield _joined(list(_parse_objects(lines, rows, schema)))


def _parse_objects(lines: list[bytes], rows: np.ndarray, schema: pa.Schema) -> Iterator[RawListens]:
    """All lines at once where they agree with the schema, else in pieces, else one by one."""
    table = _parse_at_once(lines, schema, others="ignore")
    if table is not None:
        flat = _flatten(table)
        columns = {name: flat[name].combine_chunks() for name in flat.column_names}
        yield RawListens(columns, rows)
    elif len(lines) > _FEW_LINES:
        size = max(len(lines) // _PIECES, _FEW_LINES)
        for start in range(0, len(lines), size):
            piece = slice(start, start + size)
            yield from _parse_objects(lines[piece], rows[piece], schema)
    else:
        yield _parse_objects_one_by_one(lines, rows, schema)


def _joined(pieces: list[RawListens]) -> RawListens:
    """One batch of all, for what comes after takes a time for each."""
    if len(pieces) == 1:
        return pieces[0]
    columns = {
        name: pa.concat_arrays([piece.columns[name].cast(pa.string()) for piece in pieces])
        for name in pieces[0].columns
    }
    malformed = tuple(row for piece in pieces for row in piece.malformed)
    return RawListens(columns, np.concatenate([piece.rows for piece in pieces]), malformed)


def _flatten(table: pa.Table) -> pa.Table:
    while any(map(pa.types.is_struct, table.schema.types)):
        table = table.flatten()
    return table


def _parse_objects_one_by_one(
    lines: list[bytes], rows: np.ndarray, schema: pa.Schema
) -> RawListens:
    tree = _tree(schema)
    good: list[list[str | None]] = []
    good_rows: list[int] = []
    malformed: list[RejectedRow] = []
    for line, row in zip(lines, rows.tolist(), strict=True):
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise TypeError("a line must be an object")
            good.append(list(_leaves(value, tree)))
            good_rows.append(row)
        except (ValueError, TypeError, RecursionError):
            malformed.append(malformed_row(row, line.decode("utf-8", "replace")))
    names = _flatten(schema.empty_table()).column_names
    fields = zip(*good, strict=True) if good else ([] for _ in names)
    columns = {
        name: pa.array(values, pa.string()) for name, values in zip(names, fields, strict=True)
    }
    return RawListens(columns, np.array(good_rows, np.int64), tuple(malformed))


_Tree = list[tuple[str, "_Tree | None"]]
"""Names, and what is below them."""


def _tree(fields: Iterable[pa.Field]) -> _Tree:
    return [
        (field.name, _tree(field.type) if pa.types.is_struct(field.type) else None)
        for field in fields
    ]


def _leaves(value: Any, tree: _Tree) -> Iterator[str | None]:
    """In the order of the columns that Arrow flattens structs to; null where there is nothing."""
    for name, below in tree:
        part = value.get(name) if isinstance(value, dict) else None
        if below is None:
            yield as_text(part)
        else:
            yield from _leaves(part, below)


def as_text(value: Any) -> str | None:
    """A value of JSON as text; null for objects and lists.

    Raises:
        ValueError: It is text that cannot be written as UTF-8.
    """
    if value is None or isinstance(value, (dict, list)):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    text.encode()  # raises ValueError for a lone surrogate, which is no text
    return text


def malformed_row(row: int, text: str) -> RejectedRow:
    return RejectedRow(row, MALFORMED, text[:_MAX_CONTENT], len(text))
