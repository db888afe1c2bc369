"""When sessions take place: apart from each other, near their time, and as many as are wanted."""

import dataclasses

import numpy as np
import pytest

from beam_pipelines.synthetic import SyntheticConfig
from beam_pipelines.synthetic.catalogue import build_catalogue
from beam_pipelines.synthetic.timetable import draw_contexts, separate
from beam_pipelines.synthetic.users import User, draw_user
from cosernn_tf.schema import SECONDS_PER_DAY

GAP = 20 * 60


@pytest.fixture(scope="module")
def user() -> User:
    config = SyntheticConfig(num_tracks=2_000)
    return draw_user(config, build_catalogue(config), 0, np.random.default_rng(0))


def test_sessions_are_separated_by_the_inactivity_that_defines_them():
    rng = np.random.default_rng(0)
    start = np.sort(rng.integers(0, 10 * SECONDS_PER_DAY, 500))
    lengths = rng.integers(1, 4_000, 500)
    moved = separate(start, lengths, rng)
    assert np.all(moved >= start)
    assert np.all(moved[1:] - (moved + lengths)[:-1] >= GAP)


def test_a_session_with_room_stays_where_it_is():
    start = np.array([0, 100_000, 200_000])
    np.testing.assert_array_equal(
        separate(start, np.array([60, 9_000, 60]), np.random.default_rng(0)), start
    )


def test_a_session_is_moved_behind_the_one_that_it_would_touch():
    moved = separate(np.array([0, 3_000, 3_100]), np.full(3, 2_500), np.random.default_rng(0))
    assert moved[0] == 0
    assert 2_500 + GAP <= moved[1] < 2_500 + GAP + 3_600
    assert moved[1] + 2_500 + GAP <= moved[2] < moved[1] + 2_500 + GAP + 3_600


def test_users_get_the_sessions_that_they_want(user: User):
    config = SyntheticConfig(num_tracks=2_000)
    active = dataclasses.replace(user, num_sessions=1_000)
    contexts, kept = draw_contexts(config, active, np.full(1_800, 600), np.random.default_rng(0))
    assert len(contexts.start) == len(kept) == 1_000
    assert np.all(np.diff(kept) > 0)


def test_users_who_want_more_than_fits_get_full_days(user: User):
    # Sessions of an hour, ninety a day: those without room must not take the room of others.
    config = SyntheticConfig(num_tracks=2_000, num_days=20)
    active = dataclasses.replace(user, num_sessions=1_800)
    _, kept = draw_contexts(config, active, np.full(1_800, 3_600), np.random.default_rng(0))
    assert 8 * config.num_days < len(kept) < 17 * config.num_days


def test_contexts_are_local(user: User):
    config = SyntheticConfig(num_tracks=2_000)
    abroad = dataclasses.replace(user, utc_offset_minutes=-480, num_sessions=400)
    contexts, _ = draw_contexts(config, abroad, np.full(700, 60), np.random.default_rng(0))
    local = contexts.start - 8 * 3_600
    np.testing.assert_array_equal(contexts.hour, local // 3_600 % 24)
    # 1 April 2019, day 17,987 since 1970, was a Monday.
    day = local // SECONDS_PER_DAY - 17_987
    np.testing.assert_array_equal(contexts.is_weekend, day % 7 >= 5)
    np.testing.assert_array_equal(contexts.day, np.clip(day, 0, 60))
    assert np.all(np.isinf(contexts.hours_since_last) == (np.arange(len(day)) == 0))
