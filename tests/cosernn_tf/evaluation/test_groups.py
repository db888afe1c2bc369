"""Groups of sessions, each named and told by hand."""

import numpy as np
import pyarrow as pa
import pytest

from cosernn_tf.evaluation.groups import Grouping, groupings

DAY = 86_400
END = 1_554_076_800


def sessions(**columns) -> pa.Table:
    """Sessions that differ in the given columns only."""
    count = len(next(iter(columns.values())))
    same: dict[str, list] = {
        "user_id": ["u"],
        "session_start": [END],
        "hour": [12],
        "device": ["mobile"],
        "user_age": [30],
        "train_sessions": [5],
        "earlier_sessions": [9],
    }
    return pa.table({**{name: value * count for name, value in same.items()}, **columns})


def named(dimension: str, table: pa.Table) -> list[str]:
    """The group of each session."""
    (found,) = (g for g in groupings(table, training_end=END) if g.dimension == dimension)
    assert isinstance(found, Grouping)
    assert sorted(set(found.of_session.tolist())) == list(range(len(found.groups)))
    return [found.groups[row] for row in found.of_session]


def test_by_earlier_sessions():
    values = [0, 1, 2, 4, 5, 99, 100, 399, 400, 10_000]
    assert named("earlier_sessions", sessions(earlier_sessions=values)) == [
        *("0", "1", "2 to 4", "2 to 4", "5 to 9", "50 to 99", "100 to 199", "200 to 399"),
        *("400 or more", "400 or more"),
    ]


def test_by_days_since_training():
    starts = [END + 5 * DAY, END + 6 * DAY - 1, END + 6 * DAY, END + 18 * DAY + 7]
    assert named("days_since_training", sessions(session_start=starts)) == ["5", "5", "6", "18"]
    starts = [END + day * DAY for day in range(0, 90, 3)]
    found = named("days_since_training", sessions(session_start=starts))
    assert found[:4] == ["0 to 6", "0 to 6", "0 to 6", "7 to 13"]
    assert found[-1] == "84 to 87"
    assert len(set(found)) <= 14


def test_by_activity():
    """Of users, not of sessions: one with many sessions is one user."""
    train = {"none": 0, "a": 1, "b": 3, "c": 3, "d": 8, "e": 9, "f": 20, "g": 21, "h": 99}
    users = [user for user in train for _ in range(50 if user == "h" else 2)]
    table = sessions(user_id=users, train_sessions=[train[user] for user in users])
    found = dict(zip(users, named("activity", table), strict=True))
    assert found == {
        "none": "0", "a": "1 to 3", "b": "1 to 3", "c": "1 to 3", "d": "4 to 9", "e": "4 to 9",
        "f": "10 to 21", "g": "10 to 21", "h": "22 to 99",
    }  # fmt: skip
    assert named("activity", sessions(train_sessions=[0, 0])) == ["0", "0"]
    assert named("activity", sessions(train_sessions=[7])) == ["1 to 7"]


def test_by_age():
    ages = pa.array([None, 17, 18, 24, 30, 54, 55, 90, 0], pa.int64())
    assert named("age", sessions(user_age=ages)) == [
        "unknown", "0 to 17", "18 to 24", "18 to 24", "30 to 34", "45 to 54", "55 or more",
        "55 or more", "0 to 17",
    ]  # fmt: skip


def test_by_context():
    assert named("period", sessions(hour=[1, 5, 6, 23, 0])) == [
        "night", "night", "early morning", "late evening", "late evening",
    ]  # fmt: skip
    devices = ["unknown", "web", "mobile", "mobile", "unknown", "unknown"]
    assert named("device", sessions(device=devices)) == devices
    (found,) = (
        g for g in groupings(sessions(device=devices), training_end=END) if g.dimension == "device"
    )
    assert found.groups == ("mobile", "web", "unknown")


@pytest.mark.parametrize("count", [0, 1])
def test_few_sessions(count):
    table = sessions(hour=[3] * max(count, 1)).slice(0, count)
    for grouping in groupings(table, training_end=END):
        assert len(grouping.groups) == count
        assert grouping.of_session.dtype == np.int64
