"""Reading session sequences, and what is refused."""

import dataclasses

import numpy as np
import pytest

from cosernn_tf.dataset import read_all, read_shard, read_shards, read_user
from cosernn_tf.errors import UserError
from cosernn_tf.sessions import shard_of
from cosernn_tf.table import SessionTable
from tests.workspaces import random_table, write_sessions


@pytest.fixture(scope="module")
def table():
    return random_table(4)


@pytest.fixture
def sessions(table, tmp_path):
    return write_sessions(tmp_path / "sessions", table)


def assert_equal(found: SessionTable, expected: SessionTable) -> None:
    for field in dataclasses.fields(SessionTable):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(expected, field.name))


def test_all_users_are_read_shard_by_shard(sessions, table):
    order = np.argsort(shard_of(table.user_id, 3), kind="stable")
    assert not np.array_equal(order, np.arange(table.num_users))
    assert_equal(read_all(sessions), table.select_users(order))
    assert [part.num_users for part in read_shards(sessions)] == [
        shard.users for shard in sessions.manifest.shards if shard.users
    ]


def test_a_user_is_read_alone(sessions, table):
    for user in range(table.num_users):
        found = read_user(sessions, table.user_id[user].decode())
        assert_equal(found, table.select_users(np.array([user])))


@pytest.mark.parametrize("user", ["user-99", "", "USER-1"])
def test_an_unknown_user(sessions, user):
    with pytest.raises(UserError, match=rf"user '{user}' is not in .*: --user takes a user_id"):
        read_user(sessions, user)


def test_a_damaged_shard(sessions):
    shard = sessions.manifest.shards[1]
    path = sessions.path / shard.name
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=rf"{shard.name} does not have the checksum"):
        read_shard(sessions, shard)
    read_shard(sessions, sessions.manifest.shards[0])


def test_a_missing_shard(sessions):
    shard = sessions.manifest.shards[2]
    (sessions.path / shard.name).unlink()
    with pytest.raises(UserError, match=rf"{shard.name} is in the manifest but does not exist"):
        read_all(sessions)
