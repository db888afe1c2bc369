"""What a vocabulary cuts comes back, for all users and for some."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.cut import CUT_SCHEMA, by_user, cut, restore
from cosernn_tf.table import SessionTable
from tests.workspaces import random_table

NUM_TRACKS, NUM_SOURCES = 200, 6


@pytest.fixture(scope="module")
def table() -> SessionTable:
    """Nothing is cut; sources are 0, unknown, too."""
    table = random_table(1)
    return dataclasses.replace(
        table,
        track=np.where(table.track == -2, 7, table.track),
        stream_source=np.random.default_rng(0).integers(0, NUM_SOURCES, table.num_sessions),
    )


def assert_equal(found: SessionTable, expected: SessionTable) -> None:
    for field in dataclasses.fields(SessionTable):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize(("tracks", "sources"), [(0, 1), (100, 3), (199, 6), (200, 5), (150, 6)])
def test_what_was_cut_is_put_back(table, tracks, sources):
    short, cells = cut(table, num_tracks=tracks, num_stream_sources=sources)
    np.testing.assert_array_equal(short.track, np.where(table.track < tracks, table.track, -2))
    kept = np.where(table.stream_source < sources, table.stream_source, 0)
    np.testing.assert_array_equal(short.stream_source, kept)
    assert cells.schema == CUT_SCHEMA
    assert_equal(restore(short, cells), table)
    some = np.array([1, 5, 7])
    assert_equal(restore(short.select_users(some), cells), table.select_users(some))


def test_only_users_from_whom_something_was_cut_are_listed(table):
    alone = np.flatnonzero(np.bincount(table.user_of_session, table.track.max(axis=1) == 199))
    assert 0 < len(alone) < table.num_users
    _, cells = cut(table, num_tracks=199, num_stream_sources=NUM_SOURCES)
    assert cells["user_id"].to_pylist() == table.user_id[alone].tolist()
    short, cells = cut(table, num_tracks=NUM_TRACKS, num_stream_sources=NUM_SOURCES)
    assert short is table
    assert cells.num_rows == 0
    assert_equal(restore(short, cells), table)


def test_parts_of_a_shard_are_put_together_by_user(table):
    _, whole = cut(table, num_tracks=50, num_stream_sources=2)
    order = np.argsort(table.user_id)
    assert not np.array_equal(order, np.arange(len(order)))
    halves = [
        cut(table.select_users(np.sort(users)), num_tracks=50, num_stream_sources=2)[1]
        for users in (order[::2], order[1::2])
    ]
    assert by_user(halves).equals(whole.take(pa.array(order)).combine_chunks())
