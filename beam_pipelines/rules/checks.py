"""Turns raw rows into clean listens: types, ranges, and a reason for every row that is none."""

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.hashing import IdHasher
from beam_pipelines.rules.parsing import parse_bool, parse_int, parse_names, parse_text, parse_time
from beam_pipelines.rules.rows import RawListens, RejectedRow
from cosernn_tf.schema import DEVICES, LISTEN_COLUMNS, UNKNOWN
from cosernn_tf.sessions import NULL

CLEAN_SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("track_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=False),
        pa.field("ms_played", pa.int64(), nullable=False),
        pa.field("skipped", pa.int8(), nullable=False),
        pa.field("device", pa.int8(), nullable=False),
        pa.field("stream_source", pa.string()),
        pa.field("utc_offset_minutes", pa.int16(), nullable=False),
        pa.field("track_duration_ms", pa.int64(), nullable=False),
    ]
)
"""Clean listens: nulls are `sessions.NULL`, devices rows of `schema.DEVICES`."""

LAST_TIMESTAMP: Final = int(datetime.datetime(2100, 12, 31, tzinfo=datetime.UTC).timestamp())
"""A later time is one in milliseconds, most likely."""
_MAX_UTC_OFFSET_MINUTES: Final = 18 * 60
MAX_TEXT_BYTES: Final = 64 * 1024
"""Of an id or a stream source, in UTF-8; what is longer is no name, but most likely many rows that
a quotation mark without its partner has made one."""

_MAX_CHARACTERS: Final = 1_000
"""That are kept of a value of a rejected row."""

_OTHER: Final = DEVICES.index("other")


@dataclass(frozen=True)
class CheckedListens:
    """The rows of a batch, each either clean or rejected."""

    clean: pa.Table
    """Of `CLEAN_SCHEMA`, but that users and stream sources that came in dictionaries still are."""
    rows: np.ndarray
    """(clean rows,) numbers in their file."""
    rejected: tuple[RejectedRow, ...]
    other_devices: int
    """Clean rows of a device that has no name in `schema.DEVICES`."""


class _Reasons:
    """The first reason against each row."""

    def __init__(self, count: int) -> None:
        self._names: list[str] = []
        self.code = np.full(count, NULL, np.int16)

    def add(self, name: str, applies: np.ndarray) -> None:
        if applies.any():
            self.code[applies & (self.code == NULL)] = len(self._names)
        self._names.append(name)

    def name(self, row: int) -> str:
        return self._names[self.code[row]]


def check_listens(raw: RawListens, hasher: IdHasher | None = None) -> CheckedListens:
    """Checks every row of a batch.

    A row is rejected if it has no user, track or time, if a value cannot be read as its column's
    type, or if it is out of range: a time before 1970 or after 2100, a negative duration, an
    offset of more than 18 hours, text of more than `MAX_TEXT_BYTES`.

    Args:
        raw: The batch.
        hasher: No id that it hashes is in what comes back: of a rejected row only its hashes and
            the numbers that could be read are kept, of a malformed one nothing.
    """
    count = len(raw.rows)
    reasons = _Reasons(count)
    parsers: dict[str, Callable[[pa.Array], tuple[pa.Array, np.ndarray]]] = {
        "timestamp": parse_time,
        "skipped": parse_bool,
        "track_id": parse_text,
        **dict.fromkeys(("user_id", "device", "stream_source"), parse_names),
        **dict.fromkeys(("ms_played", "utc_offset_minutes", "track_duration_ms"), parse_int),
    }
    parsed: dict[str, pa.Array] = {}
    for column in LISTEN_COLUMNS:
        raw_column = raw.columns.get(column.name)
        if raw_column is None:
            raw_column = pa.nulls(count)
        parsed[column.name], is_bad = parsers[column.name](raw_column)
        reasons.add(f"bad_{column.name}", is_bad)
        if not column.nullable:
            is_null = parsed[column.name].is_null().to_numpy(zero_copy_only=False)
            reasons.add(f"missing_{column.name}", is_null)
        if pa.types.is_string(column.type):
            too_long = _of_values(parsed[column.name], _is_too_long)
            reasons.add(f"too_long_{column.name}", too_long)

    timestamp = _numbers(parsed["timestamp"])
    is_outside = (timestamp < 0) | (timestamp > LAST_TIMESTAMP)
    reasons.add("timestamp_out_of_range", is_outside)
    ms_played = _numbers(parsed["ms_played"])
    duration = _numbers(parsed["track_duration_ms"])
    for name, values in (("ms_played", ms_played), ("track_duration_ms", duration)):
        is_known = parsed[name].is_valid().to_numpy(zero_copy_only=False)
        reasons.add(f"negative_{name}", is_known & (values < 0))
    offset = _numbers(pc.fill_null(parsed["utc_offset_minutes"], 0))
    is_outside = np.abs(offset) > _MAX_UTC_OFFSET_MINUTES
    reasons.add("utc_offset_minutes_out_of_range", is_outside)

    is_clean = reasons.code == NULL
    device = _of_values(parsed["device"], _device_rows)
    columns = {
        **parsed,
        "timestamp": timestamp,
        "ms_played": ms_played,
        "skipped": pc.fill_null(parsed["skipped"].cast(pa.int8()), NULL),
        "device": device,
        "utc_offset_minutes": np.where(is_clean, offset, 0).astype(np.int16),
        "track_duration_ms": duration,
    }
    # Rejected rows may have nulls where the schema has none, until they are filtered out.
    table = pa.table([columns[field.name] for field in CLEAN_SCHEMA], names=CLEAN_SCHEMA.names)
    rejected = list(raw.malformed)
    shown = raw.columns
    if hasher is not None:
        rejected = [row.without_content() for row in rejected]
        shown = {name: parsed[name] for name in shown}
    if not is_clean.all():
        table = table.filter(pa.array(is_clean))
        for row in np.flatnonzero(~is_clean).tolist():
            content = content_of(shown, row, hasher)
            rejected.append(RejectedRow(int(raw.rows[row]), reasons.name(row), content))
    types = [table.schema.field(field.name).type for field in CLEAN_SCHEMA]
    clean = table.cast(pa.schema(map(pa.Field.with_type, CLEAN_SCHEMA, types)))
    return CheckedListens(
        clean=clean if hasher is None else hasher.table(clean),
        rows=raw.rows[is_clean],
        rejected=tuple(rejected),
        other_devices=int(np.count_nonzero(device[is_clean] == _OTHER)),
    )


def _numbers(column: pa.Array) -> np.ndarray:
    """(n,) int64, `NULL` for null."""
    return np.asarray(pc.fill_null(column, NULL).to_numpy(zero_copy_only=False), np.int64)


def _of_values(column: pa.Array, function: Callable[[pa.Array], np.ndarray]) -> np.ndarray:
    """(n,) results of a function of each value, of a dictionary's values once."""
    if not pa.types.is_dictionary(column.type):
        return function(column)
    # Null, -1, reads the result appended at the end.
    results = function(pa.concat_arrays([column.dictionary, pa.nulls(1, pa.string())]))
    return results[pc.fill_null(column.indices, -1).to_numpy(zero_copy_only=False)]


def _is_too_long(text: pa.Array) -> np.ndarray:
    """(n,) bool."""
    size = pc.fill_null(pc.binary_length(text), 0)
    return np.asarray(size.to_numpy(zero_copy_only=False) > MAX_TEXT_BYTES)


def _device_rows(text: pa.Array) -> np.ndarray:
    """(n,) int8 rows of `schema.DEVICES`, whatever the case; null is unknown."""
    names = pc.utf8_lower(pc.fill_null(text, UNKNOWN))
    rows = pc.index_in(names, pa.array(DEVICES))
    return np.asarray(pc.fill_null(rows, _OTHER).to_numpy(zero_copy_only=False), np.int8)


def content_of(columns: dict[str, pa.Array], row: int, hasher: IdHasher | None) -> str:
    """A rejected row as JSON: as it stood or, with a hasher, what may be kept of it."""
    values = {name: _python_value(column[row]) for name, column in columns.items()}
    if hasher is not None:
        values = hasher.shown(values)
    shown = {name: _json_value(value) for name, value in values.items()}
    return json.dumps(shown, ensure_ascii=False)


def _json_value(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, (bool, int)):
        return value
    text = str(value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"


def _python_value(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, pa.DictionaryScalar):
        scalar = scalar.value
    try:
        return scalar.as_py()
    except (pa.ArrowException, ValueError, OverflowError, KeyError):
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes()  # text by its type only
        # A time or a zone that Python does not know, or text in a list that is none.
        return f"{scalar.value if isinstance(scalar, pa.TimestampScalar) else '?'} {scalar.type}"
