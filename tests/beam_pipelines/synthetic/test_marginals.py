"""The default log against what the paper publishes about its data, a test a figure.

Tolerances are stated beside each figure. They cover what 400 users leave to chance: over seeds 1, 2
and 3 all of them hold.
"""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cosernn_tf.analysis.skips import mean_of_earlier
from cosernn_tf.schema import PERIODS, SECONDS_PER_DAY

from . import marginals
from .conftest import Embeddings
from .marginals import Log

DEVICES = ("mobile", "desktop", "speaker", "web", "tablet")
NIGHT, EARLY_MORNING, MORNING, AFTERNOON, EVENING, LATE_EVENING = range(len(PERIODS))
MAJORITY_PERIODS = (AFTERNOON, EVENING)
MINORITY_PERIODS = (NIGHT, EARLY_MORNING, MORNING, LATE_EVENING)
APRIL_1, JUNE_1 = 1_554_076_800, 1_559_347_200


# §3: size -----------------------------------------------------------------------------------------


def test_covers_1_april_to_31_may_2019(log: Log):
    assert log.first_timestamp >= APRIL_1
    assert log.last_timestamp < JUNE_1
    days = np.unique((log.timestamp - APRIL_1) // SECONDS_PER_DAY)
    np.testing.assert_array_equal(days, np.arange(61))


def test_users_have_220_sessions_on_average(log: Log):
    assert log.sessions_per_user.mean() == pytest.approx(220, rel=0.05)


def test_sessions_a_user_are_heavy_tailed(log: Log):
    # Not published; no more is claimed than that few users have much of the log.
    sessions = np.sort(log.sessions_per_user)
    assert sessions.mean() > 1.25 * np.median(sessions)
    assert np.quantile(sessions, 0.95) > 3.5 * np.median(sessions)
    assert sessions[-len(sessions) // 10 :].sum() > 0.3 * sessions.sum()


def test_sessions_have_10_tracks_on_average(log: Log):
    assert log.num_tracks.mean() == pytest.approx(10, rel=0.05)


def test_the_generator_and_the_20_minute_rule_agree_on_sessions(log: Log, log_directory: Path):
    counts = json.loads((log_directory / "log.json").read_text())["counts"]
    assert counts["sessions"] == len(log.session_start)
    assert counts["listens"] == len(log.user)


# §4.1, Fig. 1: contexts ---------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "percent"), [("mobile", 88.3), ("desktop", 8.6)])
def test_share_of_device(log: Log, device: str, percent: float):
    assert 100 * np.mean(log.device == device) == pytest.approx(percent, abs=1.5)


def test_the_other_devices_share_the_rest(log: Log):
    others = [np.mean(log.device == device) for device in ("speaker", "web", "tablet")]
    assert min(others) > 0.004
    assert set(log.device) == set(DEVICES)


def test_46_4_percent_of_sessions_are_outside_afternoon_and_evening(log: Log):
    outside = ~np.isin(log.period, MAJORITY_PERIODS)
    assert 100 * np.mean(outside) == pytest.approx(46.4, abs=1.5)


def test_76_5_percent_of_users_have_a_session_at_night(log: Log):
    # The standard error of a share of 400 users is 2.1 percentage points.
    assert 100 * _share_of_users(log, log.period == NIGHT) == pytest.approx(76.5, abs=4)


@pytest.mark.parametrize("period", [EARLY_MORNING, MORNING, AFTERNOON, EVENING, LATE_EVENING])
def test_most_users_have_sessions_in_every_other_period(log: Log, period: int):
    assert _share_of_users(log, log.period == period) > 0.95


def test_many_users_have_a_session_on_another_device_than_a_mobile(log: Log):
    assert _share_of_users(log, log.device != "mobile") > 0.5


def _share_of_users(log: Log, is_in: np.ndarray) -> float:
    return len(np.unique(log.session_user[is_in])) / log.num_users


# §4.2, Fig. 2a: variety ---------------------------------------------------------------------------


@pytest.mark.parametrize("period", MINORITY_PERIODS)
def test_music_is_more_varied_in_minority_periods(log: Log, embeddings: Embeddings, period: int):
    def cosine(of: int) -> float:
        return marginals.track_cosine_within(log, embeddings.tracks, log.period == of)

    assert cosine(period) < 0.9 * min(map(cosine, MAJORITY_PERIODS))


@pytest.mark.parametrize("device", [device for device in DEVICES if device != "mobile"])
def test_music_is_more_varied_off_mobiles(log: Log, embeddings: Embeddings, device: str):
    def cosine(of: str) -> float:
        return marginals.track_cosine_within(log, embeddings.tracks, log.device == of)

    assert cosine(device) < 0.9 * cosine("mobile")


# §4.3, Fig. 3: similar sessions -------------------------------------------------------------------


def test_the_nearest_session_is_in_the_same_period_more_often_than_by_chance(
    log: Log, embeddings: Embeddings
):
    excess = marginals.nearest_session_contexts(log, embeddings.sessions, log.period, len(PERIODS))
    np.testing.assert_allclose(excess.sum(axis=1), 0.0, atol=1e-9)
    assert np.diag(excess).min() > 0.005
    # Periods that follow each other are more alike than others (the night follows on the evening).
    distance = np.abs(np.subtract.outer(np.arange(len(PERIODS)), np.arange(len(PERIODS))))
    distance = np.minimum(distance, len(PERIODS) - distance)
    assert excess[distance == 1].mean() > excess[distance > 1].mean() + 0.005


def test_the_nearest_session_is_on_the_same_device_more_often_than_by_chance(
    log: Log, embeddings: Embeddings
):
    device = np.array([DEVICES.index(name) for name in log.device])
    excess = np.diag(
        marginals.nearest_session_contexts(log, embeddings.sessions, device, len(DEVICES))
    )
    # Some devices have one session in a hundred: their own margin is within the noise.
    assert excess.min() > 0
    assert excess.mean() > 0.01


# §4.4, Fig. 2b: skips -----------------------------------------------------------------------------


def test_the_skip_rate_falls_with_the_similarity_to_the_users_mean(
    log: Log, embeddings: Embeddings
):
    mean = mean_of_earlier(embeddings.sessions, log.user_splits)
    cosine = np.einsum("sd,sd->s", mean, embeddings.sessions)
    skips = marginals.skips(log)
    rate = skips / log.num_tracks
    has_history = mean.any(axis=1)
    fits = [
        stats.linregress(cosine[rows], rate[rows])
        for rows in (has_history & (skips >= fewest) for fewest in range(7))
    ]
    slopes, correlations = np.transpose([(fit.slope, fit.rvalue) for fit in fits])
    assert correlations.max() < -0.1
    assert slopes.max() < -0.1
    # "Generally decrease the larger the minimum number of skips is."
    for figures in (slopes, correlations):
        assert figures[0] > figures[1:].max()
        assert np.polyfit(np.arange(len(figures)), figures, 1)[0] < 0


# Table 3, last row: stream sources ----------------------------------------------------------------


def test_the_stream_source_tells_about_the_content(log: Log, embeddings: Embeddings):
    same, different = marginals.cosine_by_source(log, embeddings.sessions)
    assert same > different + 0.01


# §1: tracks, repeat consumption, changing preferences ---------------------------------------------


def test_tracks_of_a_playlist_are_close_and_others_are_not(
    log: Log, log_directory: Path, embeddings: Embeddings
):
    row = {track: number for number, track in enumerate(log.track_ids)}
    with gzip.open(log_directory / "playlists.jsonl.gz", "rt") as lines:
        lists = [json.loads(line)["track_ids"] for line in lines][:500]
    within = [
        marginals.pairwise_cosine(embeddings.tracks[[row[t] for t in tracks if t in row]])
        for tracks in lists
    ]
    assert np.mean(within) > marginals.pairwise_cosine(embeddings.tracks) + 0.1


def test_popularity_is_zipfian(log: Log):
    listens = np.sort(np.bincount(log.track))[::-1]
    rank = np.arange(20, 2_000)
    exponent = -np.polyfit(np.log(rank), np.log(listens[rank]), 1)[0]
    assert 0.5 < exponent < 1.2
    assert listens[: len(listens) // 10].sum() > 0.4 * listens.sum()


def test_most_listens_are_repeats(log: Log):
    # Not published. The share grows as a log knows more of its users, and never reaches all.
    repeats = marginals.repeats(log)
    later = log.timestamp > (log.first_timestamp + log.last_timestamp) / 2
    assert 0.5 < np.mean(repeats.is_repeat) < np.mean(repeats.is_repeat[later]) < 0.9


def test_new_finds_are_played_often_and_then_fade(log: Log):
    # A track's plays by week after its first one, of those found late enough to be no old friend
    # and early enough to be followed for three weeks. Without novelty the weeks would be alike.
    repeats = marginals.repeats(log)
    found = np.flatnonzero(~repeats.is_repeat & (repeats.first_day > 20) & (repeats.first_day < 39))
    weeks = [
        marginals.plays_after(log, found, 0.25 + 7 * week, 7.25 + 7 * week) for week in range(3)
    ]
    assert weeks[0] > 1.2 * weeks[1]
    assert weeks[1] > weeks[2]


def test_old_favourites_return_for_a_while(log: Log):
    # Plays that follow on the first one in two weeks. Without spells all days after would be alike.
    repeats = marginals.repeats(log)
    comes_back = repeats.is_repeat & (repeats.days_since_last >= 14)
    assert np.mean(comes_back) > 0.03
    rows = np.flatnonzero(comes_back & (log.timestamp < log.last_timestamp - 12 * SECONDS_PER_DAY))
    soon, later = (marginals.plays_after(log, rows, day, day + 3) for day in (0.25, 9))
    assert soon > 1.2 * later


def test_recent_sessions_are_more_alike_than_distant_ones(log: Log, embeddings: Embeddings):
    within_days = marginals.cosine_by_lag(log, embeddings.sessions, 0, 2)
    weeks_apart = marginals.cosine_by_lag(log, embeddings.sessions, 28, 61)
    assert within_days > weeks_apart + 0.02
