"""The session rules, case by case, and against the row-by-row oracle on random logs."""

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.buckets import gather_bucket
from beam_pipelines.rules.checks import check_listens
from cosernn_tf.schema import DEVICES
from cosernn_tf.sessions import (
    Listens,
    SkipRule,
    in_order,
    inactivity,
    infer_skipped,
    local_day_and_hour,
    recode,
    sessionize,
    shard_of,
)
from tests.beam_pipelines.files import part_of, raw_listens
from tests.beam_pipelines.logs import random_rows, sessions_of


def listens(*rows: tuple[int, int, int], **columns: list[int]) -> Listens:
    """Listens of (user, track, timestamp), other columns null unless given."""
    user, track, timestamp = np.array(rows, np.int64).reshape(-1, 3).T
    null = np.full(len(user), -1, np.int64)
    values = {
        "ms_played": null,
        "skipped": null,
        "stream_source": null,
        "track_duration_ms": null,
        "device": null + 1,
        "utc_offset_minutes": null + 1,
        **{name: np.array(column) for name, column in columns.items()},
    }
    return Listens(user=user, track=track, timestamp=timestamp, **values)


def sessionized(data: Listens, gap_seconds: int = 1200, *, previous_end: np.ndarray | None = None):
    users = int(data.user.max()) + 1
    ids = np.array([f"u{user}".encode() for user in range(users)], object)
    skipped, _ = infer_skipped(data)
    ages = np.full(users, -1)
    return sessionize(
        data,
        skipped,
        user_id=ids,
        user_age=ages,
        previous_end=previous_end,
        gap_seconds=gap_seconds,
    )


def test_order_is_by_user_time_track_whatever_the_rows_order():
    data = listens((1, 5, 10), (0, 9, 20), (0, 3, 20), (0, 4, 10))
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        ordered = in_order(data.take(np.array(order)))
        assert ordered.user.tolist() == [0, 0, 0, 1]
        assert ordered.track.tolist() == [4, 3, 9, 5]


def test_order_holds_where_one_key_cannot_take_all_columns():
    """Times that no clock shows and many users: more than 63 bits."""
    rng = np.random.default_rng(0)
    rows = np.stack(
        [
            rng.integers(0, 3, 500) * 2**20,
            rng.integers(0, 2, 500) * 2**19,
            rng.integers(0, 3, 500) * 2**44,
        ],
        axis=1,
    )
    ordered = in_order(listens(*map(tuple, rows.tolist())))
    found = zip(ordered.user, ordered.timestamp, ordered.track, strict=True)
    assert list(found) == sorted({(user, time, track) for user, track, time in rows.tolist()})


@pytest.mark.parametrize("scale", [1, 2**20, 2**44])
def test_order_of_times_that_take_one_or_more_digits_of_a_key(scale):
    rng = np.random.default_rng(1)
    rows = np.stack(
        [rng.integers(0, 300, 2000), rng.integers(0, 5, 2000), scale * rng.integers(0, 50, 2000)],
        axis=1,
    )
    ordered = in_order(listens(*map(tuple, rows.tolist())))
    found = zip(ordered.user, ordered.timestamp, ordered.track, strict=True)
    assert list(found) == sorted({(user, time, track) for user, track, time in rows.tolist()})


def test_equal_times_are_ordered_by_the_ids_of_tracks_not_by_their_codes():
    track_id = pa.array(["t2", "é", "t10", "T"])
    data = listens(*[(0, code, 7) for code in (0, 1, 2, 3)], (0, 1, 6), (1, 0, 7), (1, 2, 7))
    ordered = in_order(data, track_id)
    found = [track_id[code].as_py() for code in ordered.track]
    assert found == ["é", "T", "t10", "t2", "é", "t10", "t2"]
    assert in_order(data).track.tolist() == [1, 0, 1, 2, 3, 0, 2]


def test_of_duplicates_the_longest_played_is_kept_whatever_the_rows_order():
    data = listens(
        (0, 1, 10),
        (0, 1, 10),
        (0, 1, 10),
        (0, 2, 10),
        ms_played=[5, 70, -1, 1],
        device=[1, 2, 3, 4],
    )
    for order in ([0, 1, 2, 3], [1, 2, 3, 0], [3, 2, 1, 0]):
        ordered = in_order(data.take(np.array(order)))
        assert ordered.track.tolist() == [1, 2]
        assert ordered.ms_played.tolist() == [70, 1]
        assert ordered.device.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("since_end", "sessions"), [(1199, 1), (1200, 2), (1201, 2), (-50, 1), (0, 1)]
)
def test_a_gap_of_exactly_twenty_minutes_starts_a_session(since_end, sessions):
    # The first listen ends at 1000 + 61, its last half second cut.
    data = listens((0, 0, 1000), (0, 1, 1061 + since_end), ms_played=[61_500, 10])
    found = sessionized(data).table
    assert found.num_sessions == sessions
    assert found.seconds_since_last.tolist() == [0, since_end][:sessions]
    assert inactivity(data).tolist() == [0, since_end]


def test_without_a_play_time_a_listen_ends_when_it_starts():
    data = listens((0, 0, 1000), (0, 1, 2200), ms_played=[-1, -1])
    assert sessionized(data).table.num_sessions == 2


def test_a_new_user_starts_a_session():
    data = listens((0, 0, 1000), (1, 1, 1001), (2, 1, 900))
    found = sessionized(data).table
    assert found.row_splits.tolist() == [0, 1, 2, 3]
    assert found.seconds_since_last.tolist() == [0, 0, 0]


def test_a_user_may_have_had_sessions_before():
    """Also one that ended when this one starts or, listens overlapping, later."""
    data = listens((0, 0, 5_000), (1, 0, 5_000), (1, 0, 9_000), (2, 0, 5_000), (3, 0, 5_000))
    table = sessionized(data, previous_end=np.array([0, -1, 5_000, 5_007])).table
    assert table.seconds_since_last.tolist() == [5_000, 0, 4_000, 0, -7]
    assert table.row_splits.tolist() == [0, 1, 3, 4, 5]


def test_skip_rules_in_their_order():
    data = listens(
        *[(0, 0, 0), (0, 1, 100), (0, 2, 200), (0, 3, 300), (0, 4, 349), (0, 5, 400), (1, 0, 401)],
        skipped=[1, 0, -1, -1, -1, -1, -1],
        ms_played=[90_000, 5, 29_999, 30_000, -1, -1, -1],
        # 51 s until the next: less than half of 103 s, not of 102 s. The next of user 0's last
        # listen would be another user's.
        track_duration_ms=[-1, -1, -1, 10**7, 102_001, 10**7, 10**7],
    )
    skipped, counts = infer_skipped(data)
    assert skipped.tolist() == [True, False, True, False, True, False, False]
    assert counts == {
        SkipRule.GIVEN: 2,
        SkipRule.MS_PLAYED: 2,
        SkipRule.NEXT_LISTEN: 1,
        SkipRule.ASSUMED_PLAYED: 2,
    }
    half = listens((0, 4, 349), (0, 5, 400), track_duration_ms=[102_000, -1])
    assert infer_skipped(half)[0].tolist() == [False, False]


def test_a_session_keeps_its_first_ten_listens_and_counts_all():
    data = listens(*[(0, 100 + place, 10 * place) for place in range(13)], (1, 7, 0))
    found = sessionized(data).table
    assert found.num_tracks.tolist() == [13, 1]
    assert found.track.tolist() == [list(range(100, 110)), [7] + [-1] * 9]
    assert found.skipped.tolist() == [[0] * 10, [0] + [-1] * 9]


def test_local_day_and_hour_cross_midnight():
    # 1 April 2019, a Monday, 00:10 UTC.
    time = np.full(4, 1_554_077_400)
    day, hour = local_day_and_hour(time, np.array([0, -15, 24 * 60 - 11, 330], np.int16))
    assert day.tolist() == [0, 6, 0, 0]
    assert hour.tolist() == [0, 23, 23, 5]


def test_recode_leaves_padding_and_makes_null_unknown():
    data = listens((0, 1, 0), (0, 0, 1), (0, 2, 5000), stream_source=[-1, 0, 1])
    table = recode(
        sessionized(data).table, track=np.array([30, 31, -2]), stream_source=np.array([8, 9])
    )
    assert table.track[:, :3].tolist() == [[31, 30, -1], [-2, -1, -1]]
    assert table.stream_source.tolist() == [0, 9]


def test_shard_of_is_stable_and_the_same_for_text_and_bytes():
    assert shard_of(["u0", "ü"], 1000).tolist() == shard_of([b"u0", "ü".encode()], 1000).tolist()
    # CRC-32 as everybody else computes it: "123456789" gives 0xCBF43926.
    assert shard_of(["123456789"], 2**31 - 1).tolist() == [0xCBF43926 % (2**31 - 1)]
    counts = np.bincount(shard_of([f"user{i}" for i in range(32_000)], 32), minlength=32)
    assert counts.min() > 800


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("gap_seconds", [1200, 60])
def test_equal_the_row_by_row_oracle(seed, gap_seconds):
    rows = random_rows(seed)
    bucket = gather_bucket([part_of(check_listens(raw_listens(rows)).clean)])
    ordered = in_order(bucket.listens, bucket.track_id)
    skipped, _ = infer_skipped(ordered)
    ids = np.array([user.encode() for user in bucket.user_id], object)
    ages = np.full(len(ids), -1)
    table = sessionize(ordered, skipped, user_id=ids, user_age=ages, gap_seconds=gap_seconds).table
    track_ids, sources = bucket.track_id.to_pylist(), [*bucket.stream_source.to_pylist(), None]
    expected = sessions_of(rows, gap=gap_seconds)
    assert [user.decode() for user in table.user_id] == sorted(expected, key=str.encode)
    for user, user_id in enumerate(table.user_id):
        own = range(*table.row_splits[user : user + 2])
        assert len(own) == len(expected[user_id.decode()])
        for row, session in zip(own, expected[user_id.decode()], strict=True):
            assert table.session_start[row] == session.start
            assert table.day_of_week[row] == session.day_of_week
            assert table.hour[row] == session.hour
            assert DEVICES[table.device[row]] == session.device
            assert sources[table.stream_source[row]] == session.stream_source
            assert table.seconds_since_last[row] == session.seconds_since_last
            assert table.num_tracks[row] == len(session.tracks)
            kept = [track_ids[track] for track in table.track[row] if track >= 0]
            assert kept == session.tracks[:10]
            flags = [bool(skip) for skip in table.skipped[row] if skip >= 0]
            assert flags == session.skipped[:10]
