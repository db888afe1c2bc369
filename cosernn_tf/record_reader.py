"""Reads what `cosernn_tf.records` writes: a TFRecord file of `tf.train.Example`s, with NumPy.

All records are parsed in step: they have the same features in the same order, so that a cursor in
each of them moves on together. TensorFlow's own parser is the oracle of the tests; this one is
faster, and spares the seconds and megabytes that importing TensorFlow costs.
"""

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.records import (
    BITS_PER_BYTE,
    BYTES_LIST,
    FIELD_1,
    FIELD_2,
    INT64_LIST,
    MAX_VARINT_BYTES,
)
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SESSION_FEATURES, Per, SessionFeature
from cosernn_tf.table import SessionTable

_LENGTH_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 4
_WORD_BYTES: Final = 8
_SEVEN_BITS: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
_ALL: Final = slice(None)


def read_records(
    data: bytes, *, where: str | Path, users: Container[bytes] | None = None
) -> SessionTable:
    """The users of a file, in its order; its checksum is for the caller to check.

    Args:
        data: What `write_records` gives.
        where: The file that it was read from, for the message.
        users: Those to read, by id; None: all.

    Raises:
        UserError: It is something else.
    """
    content = np.frombuffer(data, np.uint8)
    try:
        start, end = _records(data)
        if users is not None:
            found = _Reader(content, start.copy(), end).user_id()
            chosen = np.array([user in users for user in found], bool)
            start, end = start[chosen], end[chosen]
        return _Reader(content, start, end).table()
    except (_FormError, struct.error, IndexError) as error:
        raise UserError(
            f"{where} has records of another form than beam_pipelines.sessionize writes "
            f"({error}): run it again"
        ) from error


class _FormError(Exception):
    """What is expected does not stand there."""


def _records(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Where the payload of each record starts and ends; the record checksums are not looked at."""
    starts, ends = [], []
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        starts.append(position + _LENGTH_BYTES + _CHECKSUM_BYTES)
        ends.append(starts[-1] + length)
        position = ends[-1] + _CHECKSUM_BYTES
    if position != len(data):
        raise _FormError("the last record is cut off")
    return np.array(starts, np.int64), np.array(ends, np.int64)


@dataclass
class _Reader:
    """A cursor in each of n records."""

    data: np.ndarray
    """(bytes,) uint8: the whole file."""
    position: np.ndarray
    """(n,) int64."""
    end: np.ndarray
    """(n,) int64 end of each record."""

    def table(self) -> SessionTable:
        columns: dict[str, np.ndarray] = {}
        splits: dict[Per, np.ndarray] = {Per.USER: np.arange(len(self.end) + 1)}
        for feature, _ in self._features():
            if feature.dtype is np.bytes_:
                values = self._bytes()
            else:
                values, own = self._integers()
                if not np.array_equal(own, splits.setdefault(feature.per, own)):
                    raise _FormError(f"{feature.name} has another number of values")
            columns[feature.name] = values
        if not np.array_equal(splits[Per.SESSION] * MAX_TRACKS_PER_SESSION, splits[Per.TRACK]):
            raise _FormError(f"sessions have other than {MAX_TRACKS_PER_SESSION} tracks")
        for feature in SESSION_FEATURES:
            if feature.per is Per.TRACK:
                columns[feature.name] = columns[feature.name].reshape(-1, MAX_TRACKS_PER_SESSION)
        return SessionTable(row_splits=splits[Per.SESSION], **columns)

    def user_id(self) -> list[bytes]:
        """The one feature; the others are passed over."""
        found = np.zeros(0, object)
        for feature, end in self._features():
            if feature.name == "user_id":
                found = self._bytes()
            else:
                self.position = end
        return list(found)

    def _features(self) -> Iterator[tuple[SessionFeature, np.ndarray]]:
        """The features, the cursor at the value of each, and its end, where it is to be moved."""
        self._expect(FIELD_1)
        self._expect_at(self._length(), self.end)
        for feature in sorted(SESSION_FEATURES, key=lambda feature: feature.name):
            self._expect(FIELD_1)
            length = self._length()
            end = self.position + length
            self._expect(_key(feature.name))
            self._expect_at(self._length(), end)
            yield feature, end
            self._expect_at(0, end)
        self._expect_at(0, self.end)

    def _expect(self, expected: bytes, records: np.ndarray | slice = _ALL) -> None:
        """Moves over bytes that stand in all of the records."""
        for byte in expected:
            if (self.data[self.position[records]] != byte).any():
                raise _FormError(f"no {expected!r} where there should be one")
            self.position[records] += 1

    def _expect_at(self, length: np.ndarray | int, end: np.ndarray) -> None:
        if (self.position + length != end).any():
            raise _FormError("a length does not fit")

    def _length(self, records: np.ndarray | slice = _ALL) -> np.ndarray:
        """(records,) int64: the varint at the cursor."""
        position = self.position[records]
        value = np.zeros(len(position), np.int64)
        pending = np.arange(len(position))
        for place in range(MAX_VARINT_BYTES):
            byte = self.data[position[pending]].astype(np.int64)
            value[pending] |= (byte & 0x7F) << (BITS_PER_BYTE * place)
            position[pending] += 1
            pending = pending[byte > 0x7F]
        self.position[records] = position
        return value

    def _bytes(self) -> np.ndarray:
        """(n,) object: the one value of each record's `BytesList`."""
        self._expect(BYTES_LIST)
        length = self._length()
        end = self.position + length
        self._expect(FIELD_1)
        self._expect_at(self._length(), end)
        values = np.empty(len(end), object)
        for record, (start, stop) in enumerate(zip(self.position, end, strict=True)):
            values[record] = self.data[start:stop].tobytes()
        self.position = end
        return values

    def _integers(self) -> tuple[np.ndarray, np.ndarray]:
        """The values of all records' `Int64List`s, int64, and (n + 1,) splits of the records."""
        self._expect(INT64_LIST)
        # An empty list does not even have its field.
        (filled,) = np.nonzero(self._length())
        self._expect(FIELD_1, filled)
        size = np.zeros(len(self.end), np.int64)
        size[filled] = self._length(filled)
        values, last = _decode(self._between(self.position, self.position + size))
        self.position = self.position + size
        return values, np.searchsorted(last, np.concatenate([[0], np.cumsum(size)]))

    def _between(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The bytes of a stretch of each record, one after the other."""
        stretches = zip(start.tolist(), end.tolist(), strict=True)
        data = self.data.data
        return np.frombuffer(b"".join([data[i:j] for i, j in stretches]), np.uint8)


def _key(name: str) -> bytes:
    """The key of an entry, and the tag of its value."""
    return FIELD_1 + bytes([len(name)]) + name.encode() + FIELD_2


def _decode(encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The varints of a packed list, int64, and where the last byte of each is."""
    (last,) = np.nonzero(encoded <= 0x7F)
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    num_bytes = last - first + 1
    # Every varint's first eight bytes at once, as a number; what follows it is cut off.
    padded = np.append(encoded, np.zeros(_WORD_BYTES, np.uint8))
    words = np.ndarray(len(encoded), "<u8", padded, strides=(1,))[first]
    cut = 8 * np.maximum(_WORD_BYTES - num_bytes, 0).astype(np.uint64)
    values = words << cut >> cut & _SEVEN_BITS
    # Seven bits of each byte move together: pairs of bytes, then of pairs, then of fours.
    for low, shift in ((0x007F007F007F007F, 1), (0x00003FFF00003FFF, 2), (0x0FFFFFFF, 4)):
        values = (values & np.uint64(low)) | ((values & ~np.uint64(low)) >> np.uint64(shift))
    for place in range(_WORD_BYTES, MAX_VARINT_BYTES):
        (rows,) = np.nonzero(num_bytes > place)
        bits = (encoded[first[rows] + place] & 0x7F).astype(np.uint64)
        values[rows] |= bits << np.uint64(BITS_PER_BYTE * place)
    return values.view(np.int64), last
