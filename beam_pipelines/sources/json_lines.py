"""Rows of JSON Lines, batch by batch, bad rows kept aside."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.json

from beam_pipelines.rules.rows import RawListens, RejectedRow, malformed_row
from beam_pipelines.sources.base import BYTES_PER_BLOCK
from beam_pipelines.sources.files import open_text, unreadable
from beam_pipelines.sources.ragged import is_utf8
from cosernn_tf.errors import UserError

_FIRST_BYTES: Final = 2**12
_FEW_LINES: Final = 64
"""Lines that are read one by one for the sake of a single odd one among them."""
_PIECES: Final = 32
"""In which more lines are tried again."""


def check_json_lines(path: str) -> None:
    """Raises `UserError` for a file of one list, a common form of JSON that is not read."""
    try:
        with open_text(path) as stream:
            start = stream.read(_FIRST_BYTES).lstrip()
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error, "damaged") from error
    if start.startswith(b"["):
        raise UserError(f"{path} is a list: write it as JSON Lines, an object a line")


def read_json_lines(
    path: str, *, text_columns: Sequence[str], ignored_columns: Sequence[str] = ()
) -> Iterator[RawListens]:
    """Batches of a JSON Lines file, one object a line; blank lines do not count.

    Args:
        path: Of the file; its suffix tells the compression.
        text_columns: Fields that are text, whatever they look like; integers are read as such.
        ignored_columns: Fields that are not read, whatever they are.

    Raises:
        UserError: The file is damaged.
    """
    for lines, rows, malformed in _blocks_of_lines(path):
        batch = _parse_lines(lines, rows, text_columns=text_columns, ignored=ignored_columns)
        yield RawListens(batch.columns, batch.rows, (*malformed, *batch.malformed))


def _blocks_of_lines(
    path: str,
) -> Iterator[tuple[list[bytes], np.ndarray, list[RejectedRow]]]:
    """Lines of text, not blank, with their numbers, and those that are none."""
    first = 1
    try:
        with open_text(path) as stream:
            for lines in _split(stream):
                rows = np.arange(first, first + len(lines))
                first += len(lines)
                yield _without_binary(lines, rows)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(path, error, "damaged") from error


def _split(stream: Any) -> Iterator[list[bytes]]:
    """Lines, whatever ends them; of one that is too long, the start and something of its end."""
    rest = b""
    while block := stream.read(BYTES_PER_BLOCK):
        data = rest + block
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        rest = data[end:][: BYTES_PER_BLOCK + 1]
        yield [line for line in data[:end].splitlines() if line.strip()]
    if rest.strip():
        yield [rest]


def _without_binary(
    lines: list[bytes], rows: np.ndarray
) -> tuple[list[bytes], np.ndarray, list[RejectedRow]]:
    # Arrow would take bytes that are not UTF-8 for text.
    is_text = [len(line) <= BYTES_PER_BLOCK and is_utf8(line) for line in lines]
    if all(is_text):
        return lines, rows, []
    malformed = [
        malformed_row(row, line.decode(errors="backslashreplace"))
        for line, row, good in zip(lines, rows.tolist(), is_text, strict=True)
        if not good
    ]
    good = [line for line, is_good in zip(lines, is_text, strict=True) if is_good]
    return good, rows[is_text], malformed


def _parse_lines(
    lines: list[bytes], rows: np.ndarray, *, text_columns: Sequence[str], ignored: Sequence[str]
) -> RawListens:
    """All lines at once where they agree in their types, else one by one."""
    if not lines:
        return RawListens({}, rows)
    # What begins as text stays text: Arrow would make times of some, and take more for one than we.
    names = dict.fromkeys((*text_columns, *_names_of_text(lines[0])))
    schema = pa.schema([(name, pa.string()) for name in names if name not in ignored])
    table = _parse_at_once(lines, schema, others="infer")
    if table is not None:
        columns = {n: table[n].combine_chunks() for n in table.column_names if n not in ignored}
        if not any(_is_read_one_by_one(column.type) for column in columns.values()):
            return RawListens(columns, rows)
    return _parse_one_by_one(lines, rows, text_columns=text_columns, ignored=ignored)


def _names_of_text(line: bytes) -> list[str]:
    """Fields of an object that are text; none if it is no object."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return []
    return [n for n, v in fields.items() if isinstance(v, str)] if isinstance(fields, dict) else []


def _is_read_one_by_one(type_: pa.DataType) -> bool:
    return pa.types.is_nested(type_) or pa.types.is_timestamp(type_)


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


def _parse_one_by_one(
    lines: list[bytes], rows: np.ndarray, *, text_columns: Sequence[str], ignored: Sequence[str]
) -> RawListens:
    good: list[dict[str, str | None]] = []
    good_rows: list[int] = []
    malformed: list[RejectedRow] = []
    for line, row in zip(lines, rows.tolist(), strict=True):
        try:
            value = json.loads(line, object_pairs_hook=_Pairs)
            good.append(_fields_as_text(value, text_columns=text_columns, ignored=ignored))
            good_rows.append(row)
        except (ValueError, TypeError, RecursionError):
            malformed.append(malformed_row(row, line.decode()))
    names = dict.fromkeys(name for fields in good for name in fields)
    columns = {name: pa.array([fields.get(name) for fields in good], pa.string()) for name in names}
    return RawListens(columns, np.array(good_rows, np.int64), tuple(malformed))


class _Pairs(list[tuple[str, Any]]):
    """An object as it stands."""


def _fields_as_text(
    value: Any, *, text_columns: Sequence[str], ignored: Sequence[str]
) -> dict[str, str | None]:
    if not isinstance(value, _Pairs):
        raise TypeError("a line must be an object")
    fields: dict[str, str | None] = {}
    for name, field in value:
        if name in ignored:
            continue
        if isinstance(field, list):
            raise TypeError(f"{name} must not be nested")
        if name in text_columns and isinstance(field, (bool, float)):
            raise TypeError(f"{name} must be text")
        if name in fields:
            raise ValueError(f"there are two values of {name}")
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
    for lines, rows, malformed in _blocks_of_lines(path):
        if lines:
            batch = _joined(list(_parse_objects(lines, rows, schema)))
            yield RawListens(batch.columns, batch.rows, (*malformed, *batch.malformed))
        elif malformed:
            yield RawListens({}, rows, tuple(malformed))


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
            malformed.append(malformed_row(row, line.decode()))
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
    """A value of JSON as text; null for objects, lists and NaN.

    Raises:
        ValueError: It is text that cannot be written as UTF-8.
    """
    if value is None or isinstance(value, (dict, list)):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    text.encode()  # raises ValueError for a lone surrogate, which is no text
    return text
