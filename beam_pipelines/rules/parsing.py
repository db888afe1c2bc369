"""Reads a column as a type: values, and which rows could not be read.

Every function takes an Arrow column of n rows of any type and gives a column of its own type, null
where a row is null or bad, and (n,) bool that is true where it is bad. Empty text is null. Text is
trimmed, but for ids and names.
"""

import datetime
import uuid
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_INTEGER: Final = r"^[+-]?[0-9]{1,19}$"
_DECIMAL: Final = r"^[+-]?[0-9]{1,15}\.0*$"
_TRUE: Final = ("true", "1", "1.0", "yes")
_FALSE: Final = ("false", "0", "0.0", "no")
_GREATEST: Final = str(2**63 - 1)
_MAX_INTEGER: Final = 2**53
"""Beyond, a float may stand for several integers."""
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def parse_text(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As string, byte for byte; bad where bytes are not UTF-8, and all of a type without one text.

    Of floats, 1e3 and 1000.0 are the same id; times and truth values are none.
    """
    column = _plain(column)
    if isinstance(column.type, pa.UuidType):
        column = _uuids_as_text(column)
    if _is_text(column.type):
        column, bad = _decode(column)
    elif pa.types.is_integer(column.type) or _is_whole_decimal(column.type):
        column, bad = column.cast(pa.string()), np.zeros(len(column), bool)
    else:
        return pa.nulls(len(column), pa.string()), _mask(column.is_valid())
    is_empty = pc.equal(column, "")
    if pc.any(is_empty).as_py():
        column = pc.if_else(is_empty, None, column)
    return column, bad


def parse_names(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As `parse_text`, but what comes in a dictionary stays in one, with 32-bit indices."""
    if pa.types.is_dictionary(column.type):
        values, _ = parse_text(column.dictionary)
        # With a null among the values, rows could be null in two ways.
        if not values.null_count:
            indices = column.indices.cast(pa.int32())
            names = pa.DictionaryArray.from_arrays(indices, values)
            return names, np.zeros(len(column), bool)
    return parse_text(column)


def parse_int(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As int64; bad where text is no integer or a float is no whole number."""
    column = _plain(column)
    if pa.types.is_null(column.type):
        return column.cast(pa.int64()), np.zeros(len(column), bool)
    if pa.types.is_uint64(column.type):
        is_great = _mask(pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())))
        return pc.if_else(pa.array(is_great), None, column).cast(pa.int64()), is_great
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64()), np.zeros(len(column), bool)
    if pa.types.is_floating(column.type):
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        is_valid = _mask(column.is_valid())
        # NaN in a float column is how data frames write null.
        is_whole = (np.floor(values) == values) & (np.abs(values) <= _MAX_INTEGER)
        integers = np.where(is_whole, values, 0).astype(np.int64)
        return pa.array(integers, mask=~is_whole), is_valid & ~is_whole & ~np.isnan(values)
    text, bad = _trimmed(column)
    is_integer = pc.match_substring_regex(text, _INTEGER)
    is_decimal = pc.match_substring_regex(text, _DECIMAL)
    digits = pc.if_else(is_decimal, pc.replace_substring_regex(text, r"\..*$", ""), text)
    # Arrow does not read a plus sign.
    digits = pc.utf8_ltrim(digits, "+")
    readable = pc.or_(is_integer, is_decimal)
    if (pc.max(pc.binary_length(digits)).as_py() or 0) >= len(_GREATEST):
        absolute = pc.utf8_ltrim(digits, "-")
        is_long = pc.equal(pc.binary_length(absolute), len(_GREATEST))
        readable = pc.and_not(readable, pc.and_(is_long, pc.greater(absolute, _GREATEST)))
    values = pc.if_else(readable, digits, None).cast(pa.int64())
    return values, bad | (_mask(text.is_valid()) & ~_mask(readable))


def parse_bool(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As bool: true or false, 1 or 0, yes or no."""
    column = _plain(column)
    if pa.types.is_boolean(column.type):
        return column, np.zeros(len(column), bool)
    if pa.types.is_null(column.type):
        return column.cast(pa.bool_()), np.zeros(len(column), bool)
    if pa.types.is_floating(column.type):
        # A column of zeros and ones with nulls, as data frames hold it.
        column, bad = parse_int(column)
        values, is_no_bool = parse_bool(column)
        return values, bad | is_no_bool
    text, bad = _trimmed(column)
    lower = pc.utf8_lower(text)
    is_true = pc.is_in(lower, pa.array(_TRUE))
    readable = pc.or_(is_true, pc.is_in(lower, pa.array(_FALSE)))
    return pc.if_else(readable, is_true, None), bad | (_mask(text.is_valid()) & ~_mask(readable))


def parse_time(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """As int64 UTC seconds: numbers of seconds, or RFC 3339 text; fractions are cut.

    Text without an offset is UTC.
    """
    column = _plain(column)
    if pa.types.is_timestamp(column.type):
        counts = column.cast(pa.int64())
        seconds = np.floor_divide(_filled(counts), _PER_SECOND[column.type.unit])
        return pa.array(seconds, mask=~_mask(column.is_valid())), np.zeros(len(column), bool)
    if pa.types.is_floating(column.type):
        return parse_int(pc.floor(column.cast(pa.float64())))
    if pa.types.is_integer(column.type) or pa.types.is_null(column.type):
        return parse_int(column)
    text, bad = _trimmed(column)
    numbers, is_no_number = parse_int(
        pc.replace_substring_regex(text, r"^([0-9]+)\.[0-9]+$", r"\1")
    )
    (rows,) = np.nonzero(is_no_number)
    if not len(rows):
        return numbers, bad
    seconds = _parse_rfc3339(text.take(pa.array(rows)))
    is_bad = seconds == _UNREADABLE
    values = numbers.to_numpy(zero_copy_only=False) if not numbers.null_count else _filled(numbers)
    values = np.array(values, np.int64)
    values[rows] = seconds
    is_null = ~_mask(text.is_valid())
    is_null[rows[is_bad]] = True
    bad[rows[is_bad]] = True
    return pa.array(values, mask=is_null), bad


_UNREADABLE: Final = np.iinfo(np.int64).min


def _parse_rfc3339(text: pa.Array) -> np.ndarray:
    """(n,) int64 seconds, `_UNREADABLE` where the text is no time."""
    has_offset = pc.match_substring_regex(text, r"([Zz]|[+-][0-9]{2}:?[0-9]{2})$")
    upper = pc.utf8_upper(text)
    with_offset = pc.if_else(has_offset, upper, pc.binary_join_element_wise(upper, "Z", ""))
    try:
        times = with_offset.cast(pa.timestamp("ns", "UTC"))
    except pa.ArrowInvalid:
        # One of them is no time: only then is each looked at by itself.
        return np.array([_parse_one_time(value) for value in with_offset.to_pylist()], np.int64)
    nanoseconds = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.floor_divide(nanoseconds, 10**9)


def _parse_one_time(text: str) -> int:
    try:
        time = datetime.datetime.fromisoformat(text)
    except ValueError:
        return int(_UNREADABLE)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (time - epoch) // datetime.timedelta(seconds=1)


def _plain(column: Any) -> pa.Array:
    """One array, not dictionary-encoded."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(type_: pa.DataType) -> bool:
    """Of any kind, also bytes: Arrow and Parquet do not check that text is UTF-8."""
    return any(
        is_kind(type_)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_whole_decimal(type_: pa.DataType) -> bool:
    return pa.types.is_decimal(type_) and type_.scale == 0


def _trimmed(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Trimmed text, null where empty, and which rows are bad."""
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())
    text, bad = parse_text(column)
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(text, ""), None, text), bad


def _uuids_as_text(column: pa.Array) -> pa.Array:
    """In the usual form, each distinct one once."""
    encoded = column.storage.dictionary_encode()
    texts = [str(uuid.UUID(bytes=value)) for value in encoded.dictionary.to_pylist()]
    return pa.array(texts, pa.string()).take(encoded.indices)


def _decode(column: pa.Array) -> tuple[pa.Array, np.ndarray]:
    column = column.cast(pa.binary())
    try:
        return column.cast(pa.string()), np.zeros(len(column), bool)
    except pa.ArrowInvalid:
        texts: list[str | None] = []
        bad = np.zeros(len(column), bool)
        for row, value in enumerate(column.to_pylist()):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError:
                texts.append(None)
                bad[row] = True
        return pa.array(texts, pa.string()), bad


def _filled(column: pa.Array) -> np.ndarray:
    filled: np.ndarray = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return filled


def _mask(column: pa.Array) -> np.ndarray:
    """(n,) bool; null is false."""
    mask: np.ndarray = pc.fill_null(column, False).to_numpy(zero_copy_only=False)
    return mask
