"""Reads session sequences from TFRecord shards into `SessionTable`s, checked by the manifest."""

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
import tensorflow as tf

from cosernn_tf.errors import UserError
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SESSION_FEATURES, Per
from cosernn_tf.sessions import shard_of
from cosernn_tf.table import SessionTable, concatenate
from cosernn_tf.workspace import SessionsDirectory, Shard, check_sha256

_LENGTH_BYTES: Final = 8
_CHECKSUM_BYTES: Final = 4


def read_shard(sessions: SessionsDirectory, shard: Shard) -> SessionTable:
    """The users of one shard.

    Raises:
        UserError: The file is missing or does not have the checksum of the manifest.
    """
    path = sessions.path / shard.name
    if not path.is_file():
        raise UserError(
            f"{path} is in the manifest but does not exist: run beam_pipelines.sessionize again"
        )
    data = path.read_bytes()
    check_sha256(path, data, shard.sha256)
    return parse_records(_split_records(data))


def read_shards(sessions: SessionsDirectory) -> Iterator[SessionTable]:
    """The tables of all shards that have users, in the manifest's order."""
    for shard in sessions.manifest.shards:
        if shard.users:
            yield read_shard(sessions, shard)


def read_all(sessions: SessionsDirectory) -> SessionTable:
    """All users at once, for logs known to be small."""
    return concatenate(list(read_shards(sessions)))


def read_user(sessions: SessionsDirectory, user_id: str) -> SessionTable:
    """The table of one user.

    Raises:
        UserError: The log has no such user.
    """
    shards = sessions.manifest.shards
    shard = shards[int(shard_of([user_id], len(shards))[0])]
    if shard.users:
        table = read_shard(sessions, shard)
        (rows,) = np.nonzero(table.user_id == user_id.encode())
        if len(rows):
            return table.select_users(rows)
    raise UserError(
        f"user {user_id!r} is not in {sessions.path}: --user takes a user_id of the listening log"
    )


def _split_records(data: bytes) -> list[bytes]:
    """The payloads of a TFRecord file; the manifest's checksum stands in for the record ones."""
    records, position = [], 0
    while position < len(data):
        (length,) = struct.unpack_from("<Q", data, position)
        start = position + _LENGTH_BYTES + _CHECKSUM_BYTES
        records.append(data[start : start + length])
        position = start + length + _CHECKSUM_BYTES
    return records


def parse_records(records: list[bytes]) -> SessionTable:
    """Parses serialized `tf.train.Example`s, one a user."""
    specification = {
        feature.name: (
            tf.io.FixedLenFeature([], _tf_type(feature.dtype))
            if feature.per is Per.USER
            else tf.io.RaggedFeature(_tf_type(feature.dtype), row_splits_dtype=tf.int64)
        )
        for feature in SESSION_FEATURES
    }
    # On the GPU this would copy every feature there and back.
    with tf.device("/CPU:0"):
        parsed = tf.io.parse_example(tf.constant(records, tf.string), specification)
    columns = {}
    for feature in SESSION_FEATURES:
        values = parsed[feature.name]
        column = (values if feature.per is Per.USER else values.values).numpy()
        if feature.per is Per.TRACK:
            column = column.reshape(-1, MAX_TRACKS_PER_SESSION)
        columns[feature.name] = column
    return SessionTable(row_splits=parsed["session_start"].row_splits.numpy(), **columns)


def _tf_type(dtype: type[np.generic]) -> tf.DType:
    return tf.string if dtype is np.bytes_ else tf.as_dtype(dtype)
