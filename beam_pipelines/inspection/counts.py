"""Counts session sequences, some users at a time: what is held does not grow with the users."""

from typing import Final

import numpy as np

from beam_pipelines.inspection.histogram import EMPTY, Histogram, rounded
from cosernn_tf.schema import (
    AGE_UNKNOWN,
    DAYS_OF_WEEK,
    HOURS,
    NUM_AGE_BUCKETS,
    SECONDS_PER_DAY,
    TRACK_CUT,
    TRACK_PADDING,
    age_bucket,
)
from cosernn_tf.sessions import local_day_and_hour
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory

SPLITS: Final = ("training", "validation", "test")
_TEST: Final = SPLITS.index("test")

COUNTED: Final = ("sessions", "listens", "kept_listens", "skipped")
"""Of each value of a context: its sessions, their listens, those kept, and the skipped of these."""

SECONDS_PER_WEEK: Final = 7 * SECONDS_PER_DAY


class Counts:
    """Sums over the tables that were added; they depend on neither order nor grouping of users."""

    def __init__(self, sessions: SessionsDirectory, *, num_tracks: int) -> None:
        manifest = sessions.manifest
        self._boundaries = np.array([manifest.split.validation_start, manifest.split.test_start])
        self._last = manifest.last_timestamp
        self.users = 0
        self.age_buckets = np.zeros(NUM_AGE_BUCKETS, np.int64)
        self.users_with_age = 0
        self.splits = np.zeros((len(SPLITS), 3), np.int64)
        """(3, 3) users, sessions and listens of training, validation and test."""
        self.devices = np.zeros((len(sessions.devices), len(COUNTED)), np.int64)
        self.stream_sources = np.zeros((len(sessions.stream_sources), len(COUNTED)), np.int64)
        self.day_and_hour = np.zeros((len(DAYS_OF_WEEK), HOURS, len(COUNTED)), np.int64)
        self.sessions_per_user = EMPTY
        self.tracks_per_session = EMPTY
        self.distinct_tracks_per_user = EMPTY
        """Among the kept listens."""
        self.gaps = EMPTY
        """Seconds, `rounded`."""
        self.gap_seconds = 0
        """The sum, not rounded."""
        self.history_at_test = EMPTY
        """Sessions before the test split of each user who has one in it."""
        self.weeks_back = EMPTY
        """Whole weeks from the start of a session to the last listen of the log."""
        self.track_listens = np.zeros(num_tracks, np.int64)
        """(tracks,) kept listens of each."""
        self.listens_cut = 0
        """Kept listens whose track is not in the vocabulary."""
        self.sessions_off_utc = 0
        """Those whose local day or hour is not that of UTC."""
        self.step_seconds = 0
        """The greatest number of seconds of which all differences of starts are multiples."""
        self._origin: int | None = None

    def add(self, table: SessionTable) -> None:
        """Counts the users of `table`, of whom no other table has a session."""
        self._add_users(table)
        self._add_contexts(table)
        self._add_times(table)
        self._add_tracks(table)

    def _add_users(self, table: SessionTable) -> None:
        lengths = np.diff(table.row_splits)
        self.users += table.num_users
        self.users_with_age += int(np.count_nonzero(table.user_age != AGE_UNKNOWN))
        self.age_buckets += np.bincount(age_bucket(table.user_age), minlength=NUM_AGE_BUCKETS)
        self.sessions_per_user += Histogram.of(lengths)
        split = np.searchsorted(self._boundaries, table.session_start, side="right")
        cells = table.user_of_session * len(SPLITS) + split
        of_user = np.bincount(cells, minlength=table.num_users * len(SPLITS))
        of_user = of_user.reshape(table.num_users, len(SPLITS))
        self.splits[:, 0] += np.count_nonzero(of_user, axis=0)
        self.splits[:, 1] += of_user.sum(axis=0)
        self.splits[:, 2] += _sums(split, table.num_tracks, len(SPLITS))
        tested = of_user[:, _TEST] > 0
        self.history_at_test += Histogram.of(of_user[tested, :_TEST].sum(axis=1))

    def _add_contexts(self, table: SessionTable) -> None:
        kept = table.track != TRACK_PADDING
        columns = np.stack(
            [
                np.ones(table.num_sessions, np.int64),
                table.num_tracks,
                np.count_nonzero(kept, axis=1),
                np.count_nonzero(table.skipped == 1, axis=1),
            ],
            axis=1,
        )
        cells = table.day_of_week * HOURS + table.hour
        for sums, rows in (
            (self.devices, table.device),
            (self.stream_sources, table.stream_source),
            (self.day_and_hour.reshape(-1, len(COUNTED)), cells),
        ):
            for place in range(len(COUNTED)):
                sums[:, place] += _sums(rows, columns[:, place], len(sums))

    def _add_times(self, table: SessionTable) -> None:
        start = table.session_start
        self.tracks_per_session += Histogram.of(table.num_tracks)
        gaps = table.seconds_since_last[table.position > 0]
        self.gap_seconds += int(gaps.sum())
        self.gaps += Histogram.of(rounded(gaps))
        self.weeks_back += Histogram.of((self._last - start) // SECONDS_PER_WEEK)
        day, hour = local_day_and_hour(start, np.zeros_like(start))
        is_off = (day != table.day_of_week) | (hour != table.hour)
        self.sessions_off_utc += int(np.count_nonzero(is_off))
        if self._origin is None:
            self._origin = int(start[0])
        self.step_seconds = int(np.gcd.reduce(start - self._origin, initial=self.step_seconds))

    def _add_tracks(self, table: SessionTable) -> None:
        rows, counts = np.unique(table.track, return_counts=True)
        self.listens_cut += int(counts[rows == TRACK_CUT].sum())
        self.track_listens[rows[rows >= 0]] += counts[rows >= 0]
        session, place = np.nonzero(table.track >= 0)
        keys = (
            table.user_of_session[session] * len(self.track_listens) + table.track[session, place]
        )
        users = np.unique(keys) // max(1, len(self.track_listens))
        of_user = np.bincount(users, minlength=table.num_users)
        self.distinct_tracks_per_user += Histogram.of(of_user)


def _sums(rows: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """(size,) int64 sums of the values of each row."""
    sums = np.zeros(size, np.int64)
    np.add.at(sums, rows, values)
    return sums
