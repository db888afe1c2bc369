"""Reads session sequences from TFRecord shards into `SessionTable`s, checked by the manifest."""

from collections.abc import Iterator

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.record_reader import read_records
from cosernn_tf.sessions import shard_of
from cosernn_tf.table import SessionTable, concatenate
from cosernn_tf.workspace import RAW_IDS, SessionsDirectory, Shard, check_sha256


def read_shard(sessions: SessionsDirectory, shard: Shard) -> SessionTable:
    """The users of one shard.

    Raises:
        UserError: The file is missing or does not have the checksum of the manifest.
    """
    return read_records(checked_shard(sessions, shard), where=sessions.path / shard.name)


def checked_shard(sessions: SessionsDirectory, shard: Shard) -> bytes:
    """The content of the file of a shard. Raises `UserError` as `read_shard`."""
    path = sessions.path / shard.name
    if not path.is_file():
        raise UserError(
            f"{path} is in the manifest but does not exist: run beam_pipelines.sessionize again"
        )
    data = path.read_bytes()
    check_sha256(path, data, shard.sha256)
    return data


def read_shards(sessions: SessionsDirectory) -> Iterator[SessionTable]:
    """The tables of all shards that have users, in the manifest's order."""
    for shard in sessions.manifest.shards:
        if shard.users:
            yield read_shard(sessions, shard)


def read_all(sessions: SessionsDirectory) -> SessionTable:
    """All users at once, for logs known to be small."""
    return concatenate(list(read_shards(sessions)))


def find_user(sessions: SessionsDirectory, user_id: str) -> SessionTable | None:
    """The table of one user; None: the log has no such user. Raises `UserError` as `read_shard`."""
    # What a shell passes may be no UTF-8.
    wanted = user_id.encode("utf-8", "surrogatepass")
    shards = sessions.manifest.shards
    shard = shards[int(shard_of([wanted], len(shards))[0])]
    if not shard.users:
        return None
    table = read_shard(sessions, shard)
    # Not compared by NumPy, which takes NULs at an end for padding.
    (rows,) = np.nonzero([user == wanted for user in table.user_id])
    return table.select_users(rows) if len(rows) else None


def read_user(sessions: SessionsDirectory, user_id: str) -> SessionTable:
    """The table of one user.

    Raises:
        UserError: The log has no such user, or a file is not that of the manifest.
    """
    table = find_user(sessions, user_id)
    if table is not None:
        return table
    if sessions.manifest.ids["user_id"] != RAW_IDS["user_id"]:
        raise UserError(
            f"this user is not in {sessions.path}, whose user ids are hashed: --user takes the "
            "hash (WORKSPACE.md says how to get it)"
        )
    raise UserError(
        f"user {user_id!r} is not in {sessions.path}: --user takes a user_id of the listening log"
    )
