"""Writes session sequences: a `SessionTable` as a TFRecord file of `tf.train.Example`s.

The bytes are those that TensorFlow's own writer gives (a test compares them), made with NumPy: all
users' at once, and without the seconds and megabytes that importing it costs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import google_crc32c
import numpy as np

from cosernn_tf.schema import SESSION_FEATURES, Per, SessionFeature
from cosernn_tf.table import SessionTable

BITS_PER_BYTE: Final = 7
MAX_VARINT_BYTES: Final = 10
"""Those of a negative number."""
_LOW_BITS: Final = 0x7F
_MORE: Final = 0x80
"""Set in all bytes of a varint but the last."""
_MINUS_ONE: Final = 0xFF
"""All bytes but the last of the varint of -1, and the later ones of any negative number's."""

# Protocol buffer tags, all of length-delimited fields: (field number << 3) | 2.
FIELD_1: Final = b"\x0a"
FIELD_2: Final = b"\x12"
INT64_LIST: Final = b"\x1a"
BYTES_LIST: Final = b"\x0a"

_BEFORE: Final = 8 + 4
"""Bytes of a TFRecord file before a record: its length, and that one's checksum."""
_AFTER: Final = 4
"""The record's checksum."""


@dataclass(frozen=True)
class Records:
    """Serialised records in the form of a TFRecord file, one a user."""

    data: np.ndarray
    """(bytes,) uint8: the content of the file."""
    splits: np.ndarray
    """(U + 1,) int64: bytes `splits[i]:splits[i + 1]` are user i's."""


def write_records(table: SessionTable) -> bytes:
    """The content of a TFRecord file with one record a user, in the order of the table."""
    return framed_records(table).data.tobytes()


def framed_records(table: SessionTable) -> Records:
    """The records of all users, in the order of the table."""
    # Sorted by name, as in TensorFlow's deterministic serialisation.
    features = sorted(SESSION_FEATURES, key=lambda feature: feature.name)
    stretches = [stretch for feature in features for stretch in _map_entry(feature, table)]
    length = sum((s.length for s in stretches), np.zeros(table.num_users, np.int64))
    stretches.insert(0, _head((*FIELD_1, length), np.ones((table.num_users, 2), bool)))
    splits = _splits(_BEFORE + stretches[0].length + length + _AFTER)
    data = np.full(splits[-1], _MINUS_ONE, np.uint8)
    start = splits[:-1] + _BEFORE
    for stretch in stretches:
        stretch.put(data, start)
        start = start + stretch.length
    _frame(data, splits)
    return Records(data, splits)


class _Stretch:
    """Consecutive values of every record: varints, or raw bytes."""

    def __init__(self, values: np.ndarray, splits: np.ndarray, *, raw: bool = False) -> None:
        """Takes (n,) integers, `values[splits[i]:splits[i + 1]]` of user i."""
        self._values = values
        self._splits = splits
        self._is_raw = raw
        # Of each value: its place would take eight times as much for as long.
        self._num_bytes = np.ones(len(values), np.uint8) if raw else _varint_bytes(values)
        self.length = np.diff(_splits(self._num_bytes)[splits])
        """(U,) int64 bytes."""

    def put(self, data: np.ndarray, start: np.ndarray) -> None:
        """Writes each user's values where they start; `data` holds `_MINUS_ONE` there."""
        place = _splits(self._num_bytes)
        move = start - place[self._splits[:-1]]
        at = place[:-1]
        at += np.repeat(move, np.diff(self._splits))
        if self._is_raw:
            data[at] = self._values
        else:
            _put_varints(data, at, self._values)


def _map_entry(feature: SessionFeature, table: SessionTable) -> tuple[_Stretch, _Stretch]:
    """An entry of `Features.feature`, a key and a `Feature`: its head, and its values."""
    values = getattr(table, feature.name)
    if feature.dtype is np.bytes_:
        payload = _Stretch(
            np.frombuffer(b"".join(values), np.uint8),
            _splits(np.array([len(value) for value in values], np.int64)),
            raw=True,
        )
        tag, is_empty = BYTES_LIST, np.zeros(len(values), bool)
    else:
        splits = np.arange(len(values) + 1) if feature.per is Per.USER else table.row_splits
        if feature.per is Per.TRACK:
            splits = splits * values.shape[1]
        payload = _Stretch(values.ravel(), splits)
        tag, is_empty = INT64_LIST, payload.length == 0
    name = feature.name.encode()
    # An empty list of integers has no packed field.
    of_list = np.where(is_empty, 0, _delimited(payload.length))
    of_feature = _delimited(of_list)
    of_entry = _delimited(np.array(len(name))) + _delimited(of_feature)
    key = (*FIELD_1, len(name), *name)
    packed = (*FIELD_1, payload.length)
    tokens = (*FIELD_1, of_entry, *key, *FIELD_2, of_feature, *tag, of_list, *packed)
    written = np.ones((len(is_empty), len(tokens)), bool)
    written[is_empty, -len(packed) :] = False
    return _head(tokens, written), payload


def _head(tokens: Sequence[int | np.ndarray], written: np.ndarray) -> _Stretch:
    """Tags, lengths and the characters of names, all varints: a column each, a row a user."""
    columns = np.empty(written.shape, np.int64)
    for column, token in enumerate(tokens):
        columns[:, column] = token
    return _Stretch(columns[written], _splits(written.sum(axis=1)))


def _delimited(length: np.ndarray) -> np.ndarray:
    """Bytes of a length-delimited field of so many bytes."""
    return 1 + _varint_bytes(length) + length


def _splits(lengths: np.ndarray) -> np.ndarray:
    """(n + 1,) int64 ends of stretches of these lengths, after a zero."""
    splits = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=splits[1:])
    return splits


def _varint_bytes(values: np.ndarray) -> np.ndarray:
    """(n,) uint8 bytes of the varint of each integer."""
    num_bytes = np.ones(values.shape, np.uint8)
    if not values.size:
        return num_bytes
    highest = int(values.max())
    bound = _LOW_BITS + 1
    while bound <= highest:
        num_bytes += values >= bound
        bound <<= BITS_PER_BYTE
    num_bytes[values < 0] = MAX_VARINT_BYTES
    return num_bytes


def _put_varints(data: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    """Writes varints where they start; `data` holds `_MINUS_ONE` there."""
    negative = values < 0
    if negative.any():
        _put_negative(data, at[negative], values[negative])
        at, values = at[~negative], values[~negative]
    while True:
        has_more = values > _LOW_BITS
        (rows,) = np.nonzero(has_more)
        if not len(rows):
            data[at] = values
            return
        data[at] = values & _LOW_BITS | np.where(has_more, _MORE, 0)
        at, values = at[rows] + 1, values[rows] >> BITS_PER_BYTE


def _put_negative(data: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    data[at + (MAX_VARINT_BYTES - 1)] = 1
    while len(rows := np.flatnonzero(values != -1)):
        at, values = at[rows], values[rows]
        data[at] = values & _LOW_BITS | _MORE
        at, values = at + 1, values >> BITS_PER_BYTE


def _frame(data: np.ndarray, splits: np.ndarray) -> None:
    """Writes what a TFRecord file has around each record: its length, and masked CRC-32Cs."""
    first, end = splits[:-1], splits[1:]
    length = (end - first - _BEFORE - _AFTER).astype("<u8")
    lengths = length.view(np.uint8).reshape(-1, length.itemsize)
    records = [data[a + _BEFORE : b - _AFTER] for a, b in pairwise(splits.tolist())]
    for at, content in (
        (first, lengths),
        (first + length.itemsize, _checksums(lengths)),
        (end - _AFTER, _checksums(records)),
    ):
        data[at[:, None] + np.arange(content.shape[1])] = content


def _checksums(contents: Iterable[np.ndarray]) -> np.ndarray:
    """(n, 4) bytes of the masked CRC-32C of each."""
    checksum = np.array([google_crc32c.value(c.tobytes()) for c in contents], np.uint64)
    rotated = (checksum >> np.uint64(15)) | (checksum << np.uint64(17)) & np.uint64(0xFFFFFFFF)
    masked = (rotated + np.uint64(0xA282EAD8)).astype("<u4")
    return masked.view(np.uint8).reshape(-1, masked.itemsize)
