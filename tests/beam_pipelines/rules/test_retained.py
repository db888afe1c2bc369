"""What is retained, row by row, and where users are reopened."""

import collections

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules import retained
from beam_pipelines.rules.buckets import gather_bucket
from beam_pipelines.rules.checks import CLEAN_SCHEMA, check_listens
from beam_pipelines.rules.retained import (
    NOBODY,
    RETAINED_SCHEMA,
    Reopened,
    RetainedParts,
    first_reopened,
    of_bucket,
    retain,
    retained_in_order,
)
from beam_pipelines.rules.spill import Spill
from beam_pipelines.transforms.sequence import sequence_bucket
from cosernn_tf.sessions import shard_of
from cosernn_tf.table import SessionTable
from tests.workspaces import random_table

from ..files import part_of, raw_listens
from ..logs import Session, random_rows, sessions_of


def reopened_at(sessions: list[Session], boundary: int) -> int:
    """Number of a user's first session that is not frozen."""
    later = [number for number, session in enumerate(sessions) if session.start >= boundary]
    return min([*later, len(sessions) - 1])


@pytest.mark.parametrize("share", [0.0, 0.4, 0.8, 1.0])
def test_listens_since_each_user_was_reopened_are_retained(share):
    rows = random_rows(8, users=12)
    by_user = sessions_of(rows)
    starts = sorted(session.start for own in by_user.values() for session in own)
    boundary = int(np.quantile(starts, share)) + (share == 1)
    clean = check_listens(raw_listens(rows)).clean
    bucket = gather_bucket([part_of(clean)])
    known = np.arange(len(bucket.user_id))
    # Users 3 and 5 have frozen sessions of a run before, which are not here.
    before = np.full(len(known), -1)
    before[[3, 5]] = 77, 88
    sessions, _ = sequence_bucket(bucket, known, gap_seconds=1200)
    kept = retain(
        sessions,
        boundary,
        track_id=bucket.track_id,
        stream_source=bucket.stream_source,
        previous_end=before,
    )
    assert kept.schema == RETAINED_SCHEMA

    columns = ("user_id", "timestamp", "track_id")
    expected, ends = [], []
    for user, user_id in enumerate(bucket.user_id):
        own = by_user[user_id]
        first = reopened_at(own, boundary)
        keys = {
            (row["timestamp"], row["track_id"])
            for row in rows
            if row["user_id"] == user_id and row["timestamp"] >= own[first].start
        }
        expected += [(user_id, *key) for key in sorted(keys)]
        end = own[first].start - own[first].seconds_since_last if first else before[user]
        ends += [(user, end)] * len(keys)
    assert list(zip(*(kept[name].to_pylist() for name in columns), strict=True)) == expected
    found = zip(kept["user_age"].to_pylist(), kept["previous_end"].to_pylist(), strict=True)
    assert list(found) == ends
    # The other columns are those of the log, of duplicates of one of them.
    everything = {tuple(row.values()) for row in clean.to_pylist()}
    assert {
        tuple(row.values()) for row in kept.select(CLEAN_SCHEMA.names).to_pylist()
    } <= everything


def test_no_user():
    table = random_table(1).select_users(np.zeros(0, np.int64))
    assert isinstance(table, SessionTable)
    assert first_reopened(table, 5).tolist() == []
    assert NOBODY.listens.num_rows == 0
    assert NOBODY.previous_ends(np.array(["u"], object)).tolist() == [-1]
    assert NOBODY.ages(np.array(["u"], object)).tolist() == [-1]


@pytest.fixture
def reopened() -> Reopened:
    """User b has frozen sessions, a and c have none; the boundary is at 50."""
    rows = [("a", 30, -1, 20), ("b", 40, 7, 30), ("b", 60, 7, 30), ("c", 50, -1, -1)]
    clean = check_listens(
        raw_listens([{"user_id": u, "track_id": "t", "timestamp": t} for u, t, _, _ in rows])
    ).clean
    ends, ages = ([row[place] for row in rows] for place in (2, 3))
    return Reopened.of(pa.table([*clean.columns, ages, ends], RETAINED_SCHEMA), 50)


def test_users_go_on_where_they_were_reopened(reopened):
    users = np.array(["d", "c", "b", "a"], object)
    assert reopened.user_id.to_pylist() == ["a", "b", "c"]
    assert reopened.previous_ends(users).tolist() == [-1, -1, 7, -1]
    assert reopened.ages(users).tolist() == [-1, -1, 30, 20]
    # Those of a and b are a last session before the boundary.
    assert reopened.was_counted.tolist() == [True, True, True, False]


def test_only_what_would_change_a_frozen_session_is_too_late(reopened):
    rows = [("b", 39), ("a", 0), ("b", 40), ("d", 0), ("b", 0), ("c", 49)]
    newer = check_listens(
        raw_listens([{"user_id": u, "track_id": "t", "timestamp": t} for u, t in rows])
    ).clean
    assert reopened.is_too_late(newer).tolist() == [True, False, False, False, True, False]
    assert reopened.with_newer(newer)["timestamp"].to_pylist() == [
        *(30, 40, 60, 50),
        *(39, 0, 40, 0, 0, 49),
    ]


def test_a_bucket_has_the_listens_of_its_users(reopened):
    halves = [reopened.listens.slice(0, 2), reopened.listens.slice(2)]
    found = [of_bucket(halves, bucket, 5) for bucket in range(5)]
    for bucket, listens in enumerate(found):
        assert listens.schema == RETAINED_SCHEMA
        assert set(shard_of(listens["user_id"].to_pylist(), 5)) <= {bucket}
    together = pa.concat_tables(found).sort_by(
        [("user_id", "ascending"), ("timestamp", "ascending")]
    )
    assert together == reopened.listens
    assert len({listens.num_rows for listens in found}) > 1


@pytest.mark.parametrize("rows_at_once", [1, 30, 10**6])
def test_what_buckets_retain_is_joined_in_the_order_of_users(rows_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(retained, "_ROWS_AT_ONCE", 7)
    clean = check_listens(raw_listens(random_rows(4, users=14))).clean.sort_by("user_id")
    rows = [*clean.columns, *(pa.array(np.arange(clean.num_rows)) for _ in range(2))]
    listens = pa.table(rows, RETAINED_SCHEMA)
    user_ids = sorted(set(listens["user_id"].to_pylist()), key=str.encode)
    spill = Spill(str(tmp_path))
    tables = {}
    for num_buckets in (1, 4):
        numbers = shard_of(user_ids, num_buckets)
        buckets = [
            RetainedParts.of(of_bucket([listens], bucket, num_buckets), spill)
            for bucket in range(num_buckets)
        ]
        tables[num_buckets] = list(retained_in_order(buckets, numbers, rows_at_once=rows_at_once))
        assert pa.concat_tables(tables[num_buckets]) == listens
    assert [t.num_rows for t in tables[1]] == [t.num_rows for t in tables[4]]
    most = max(collections.Counter(listens["user_id"].to_pylist()).values())
    assert max(table.num_rows for table in tables[4]) < rows_at_once + most
    assert (len(tables[4]) == 1) == (rows_at_once > listens.num_rows)
