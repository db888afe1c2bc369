"""What is retained, row by row, and where users are reopened."""

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.buckets import gather_bucket
from beam_pipelines.rules.checks import CLEAN_SCHEMA, check_listens
from beam_pipelines.rules.retained import NOBODY, RETAINED_SCHEMA, Reopened, first_reopened, retain
from beam_pipelines.transforms.sequence import sequence_bucket
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


def test_some_users(reopened):
    some = reopened.select(np.array([False, True, True]))
    assert some.user_id.to_pylist() == ["b", "c"]
    assert some.listens["timestamp"].to_pylist() == [40, 60, 50]
    assert some.previous_ends(np.array(["a", "b"], object)).tolist() == [-1, 7]
    assert some.was_counted.tolist() == [True, True, False]
