"""Reads session sequences from TFRecord shards into `SessionTable`s, checked by the manifest."""

from collections.abc import Iterator

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.record_reader import read_records
from cosernn_tf.sessions import shard_of
from cosernn_tf.table import SessionTable, concatenate
from cosernn_tf.workspace import SessionsDirectory, Shard, check_sha256


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
    return read_records(data, where=path)


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
