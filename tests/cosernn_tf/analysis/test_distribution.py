"""Fig. 1 against counting by hand."""

import dataclasses
import datetime
from collections import Counter, defaultdict
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from cosernn_tf.analysis.contexts import dimensions
from cosernn_tf.analysis.distribution import ContextCounts, ContextShare
from cosernn_tf.schema import DAYS_OF_WEEK, DEVICES
from cosernn_tf.sessions import Listens, sessionize
from cosernn_tf.table import SessionTable
from tests.cosernn_tf.evaluation.tables import random_data

from .blocks import interval

PERIOD_OF = {
    **dict.fromkeys([1, 2, 3, 4, 5], "night"),
    **dict.fromkeys([6, 7, 8], "early morning"),
    **dict.fromkeys([9, 10, 11], "morning"),
    **dict.fromkeys([12, 13, 14, 15, 16], "afternoon"),
    **dict.fromkeys([17, 18, 19, 20], "evening"),
    **dict.fromkeys([21, 22, 23, 0], "late evening"),
}
"""§4.1, as WORKSPACE.md has it."""


def shares(*tables: SessionTable) -> tuple[ContextShare, ...]:
    counts = ContextCounts(dimensions(DEVICES))
    for table in tables:
        counts.add(table)
    return counts.rows()


def by_hand(table: SessionTable) -> dict[tuple[str, str], tuple[int, set[int]]]:
    """Sessions and users by dimension and context."""
    sessions: Counter[tuple[str, str]] = Counter()
    users = defaultdict(set)
    for row, user in enumerate(table.user_of_session.tolist()):
        hour = int(table.hour[row])
        for key in (
            ("day", DAYS_OF_WEEK[table.day_of_week[row]]),
            ("period", PERIOD_OF[hour]),
            ("hour", f"{hour:02d}"),
            ("device", DEVICES[table.device[row]]),
        ):
            sessions[key] += 1
            users[key].add(user)
    return {key: (count, users[key]) for key, count in sessions.items()}


def test_as_counted_by_hand():
    # One of the users has no session.
    table = random_data(lengths=(1, 90, 0, 2, 130, 7, 60)).table
    expected = by_hand(table)
    rows = shares(table)
    for row in rows:
        count, users = expected.pop((row.dimension, row.context), (0, set()))
        assert row.sessions == count
        assert row.users == len(users)
        assert row.session_share == pytest.approx(count / 290)
        assert row.user_share == pytest.approx(len(users) / 6)
        for name in ("session_share", "user_share"):
            share, low, high = interval(row, name)
            assert 0 <= low <= share <= high <= 1
    assert expected == {}
    assert [row.context for row in rows if row.dimension == "day"] == list(DAYS_OF_WEEK)
    # The unknown device stands last.
    assert [r.context for r in rows if r.dimension == "device"] == ["mobile", "desktop", "unknown"]


def test_parts_in_any_order_count_as_the_whole():
    table = random_data(1, lengths=(30, 5, 1, 70, 12)).table
    parts = [table.select_users(np.array(users)) for users in ([3], [4, 0], [1, 2])]
    for found, expected in zip(shares(*parts), shares(table), strict=True):
        for name in ContextShare.columns():
            value = getattr(expected, name)
            assert getattr(found, name) == (
                pytest.approx(value) if isinstance(value, float) else value
            )


def test_the_interval_of_a_share_is_about_users():
    # Half of the users are always at night, and half never: 40 users say little, 4,000 sessions
    # would say much. Of a share of users it is Wilson's, here (20 + 1.92) / 43.84 ± 0.148.
    table = random_data(2, lengths=(100,) * 40).table
    hours = np.where(table.user_of_session % 2, 3, 13)
    night = next(r for r in shares(dataclasses.replace(table, hour=hours)) if r.context == "night")
    assert night.session_share == 0.5
    # The standard error of a mean of 40 values of 0 and 1, half of each, and Student's t of 39.
    margin = 2.0227 * np.sqrt(0.25 / 39)
    assert night.session_share_high == pytest.approx(0.5 + margin, abs=1e-4)
    assert (night.user_share_low, night.user_share_high) == pytest.approx((0.352, 0.648), abs=1e-3)


def test_days_on_which_clocks_change():
    """In Berlin no clock showed 2 h on 31 March 2019, and on 27 October it was 2 h twice."""
    berlin = ZoneInfo("Europe/Berlin")
    nights = [datetime.datetime(2019, *day, 22, tzinfo=datetime.UTC) for day in ((3, 30), (10, 26))]
    starts = [night + datetime.timedelta(hours=hour) for night in nights for hour in range(6)]
    local = [start.astimezone(berlin) for start in starts]
    offsets = [time.utcoffset() for time in local]
    count = len(starts)
    unknown = np.full(count, -1)
    listens = Listens(
        user=np.zeros(count, np.int64),
        track=np.arange(count),
        timestamp=np.array([int(start.timestamp()) for start in starts]),
        ms_played=unknown,
        skipped=unknown,
        device=np.ones(count, np.int64),
        stream_source=unknown,
        utc_offset_minutes=np.array([o.total_seconds() // 60 for o in offsets if o], np.int64),
        track_duration_ms=unknown,
    )
    sessions = sessionize(
        listens,
        np.zeros(count, bool),
        user_id=np.array([b"anna"], object),
        user_age=np.array([-1]),
    )
    rows = {row.context: row.sessions for row in shares(sessions.table)}
    expected = Counter(f"{time.hour:02d}" for time in local)
    assert {hour: rows[hour] for hour in expected} == expected
    # 23, 0, 1, 3, 4, 5 and then 0, 1, 2, 2, 3, 4: the days they are of change at local midnight.
    assert [rows[f"{hour:02d}"] for hour in (23, 0, 1, 2, 3, 4, 5)] == [1, 2, 2, 2, 2, 2, 1]
    assert (rows["Saturday"], rows["Sunday"]) == (1, 11)
    assert (rows["night"], rows["late evening"]) == (9, 3)
