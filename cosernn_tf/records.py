"""Writes session sequences: a `SessionTable` as a TFRecord file of `tf.train.Example`s.

The bytes are those that TensorFlow's own writer gives (a test compares them), made with NumPy: a
whole shard's integers at once, and without the seconds and megabytes that importing it costs.
"""

import struct
from itertools import pairwise
from typing import Final

import google_crc32c
import numpy as np

from cosernn_tf.schema import SESSION_FEATURES, Per, SessionFeature
from cosernn_tf.table import SessionTable

BITS_PER_BYTE: Final = 7
MAX_VARINT_BYTES: Final = 10

# Protocol buffer tags, all of length-delimited fields: (field number << 3) | 2.
FIELD_1: Final = b"\x0a"
FIELD_2: Final = b"\x12"
INT64_LIST: Final = b"\x1a"
BYTES_LIST: Final = b"\x0a"


def write_records(table: SessionTable) -> bytes:
    """The content of a TFRecord file with one record a user, in the order of the table."""
    return b"".join(framed_records(table))


def framed_records(table: SessionTable) -> list[bytes]:
    """A record of a TFRecord file for each user; joined, they are the file's content."""
    return list(map(_framed, serialize_examples(table)))


def serialize_examples(table: SessionTable) -> list[bytes]:
    """A serialised `tf.train.Example` of `schema.SESSION_FEATURES` for each user."""
    # Sorted by name, as in TensorFlow's deterministic serialisation.
    features = sorted(SESSION_FEATURES, key=lambda feature: feature.name)
    entries = [_map_entries(feature, table) for feature in features]
    return [_delimited(FIELD_1, b"".join(parts)) for parts in zip(*entries, strict=True)]


def _map_entries(feature: SessionFeature, table: SessionTable) -> list[bytes]:
    """One entry of `Features.feature` for each user: the key and the `Feature`."""
    key = _delimited(FIELD_1, feature.name.encode())
    values = getattr(table, feature.name)
    if feature.dtype is np.bytes_:
        lists = [_delimited(BYTES_LIST, _delimited(FIELD_1, value)) for value in values]
    else:
        splits = np.arange(len(values) + 1) if feature.per is Per.USER else table.row_splits
        if feature.per is Per.TRACK:
            splits = splits * values.shape[1]
        lists = [
            _delimited(INT64_LIST, _delimited(FIELD_1, payload) if payload else b"")
            for payload in _varints(values.ravel(), splits)
        ]
    return [_delimited(FIELD_1, key + _delimited(FIELD_2, value)) for value in lists]


def _varints(values: np.ndarray, splits: np.ndarray) -> list[bytes]:
    """Packed varints of `values[splits[i]:splits[i + 1]]` for each i."""
    unsigned = values.astype(np.int64).view(np.uint64)
    num_bytes = np.ones(len(unsigned), np.int64)
    for place in range(1, MAX_VARINT_BYTES):
        num_bytes += unsigned >= np.uint64(1 << (BITS_PER_BYTE * place))
    offsets = np.concatenate([[0], np.cumsum(num_bytes)])
    encoded = np.empty(offsets[-1], np.uint8)
    rows = np.arange(len(unsigned))
    for place in range(MAX_VARINT_BYTES):
        rows = rows[num_bytes[rows] > place]
        if not len(rows):
            break
        bits = (unsigned[rows] >> np.uint64(BITS_PER_BYTE * place)) & np.uint64(0x7F)
        more = (num_bytes[rows] > place + 1).astype(np.uint64) << np.uint64(BITS_PER_BYTE)
        encoded[offsets[rows] + place] = bits | more
    buffer = encoded.tobytes()
    ends = offsets[splits].tolist()
    return [buffer[start:end] for start, end in pairwise(ends)]


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= BITS_PER_BYTE
    encoded.append(value)
    return bytes(encoded)


def _delimited(tag: bytes, payload: bytes) -> bytes:
    return tag + _varint(len(payload)) + payload


def _framed(record: bytes) -> bytes:
    """A record of a TFRecord file: length, its masked CRC-32C, data, its masked CRC-32C."""
    length = struct.pack("<Q", len(record))
    return length + _masked_crc32c(length) + record + _masked_crc32c(record)


def _masked_crc32c(data: bytes) -> bytes:
    checksum = google_crc32c.value(data)
    rotated = (checksum >> 15 | checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
