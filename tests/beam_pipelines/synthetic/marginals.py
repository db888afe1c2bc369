"""What §3 and §4 of the paper publish about its data, measured on a log.

Only the files of a log are read: sessions are derived from the listens by the 20-minute rule, and
nothing here knows what the generator meant.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from cosernn_tf.analysis.nearest import by_chance, nearest_contexts
from cosernn_tf.analysis.variety import mean_cosine
from cosernn_tf.schema import DAYS_OF_WEEK, PERIOD_OF_HOUR, SECONDS_PER_DAY

KEPT = 10
"""Tracks of a session that its embedding is of (§3.3)."""
GAP_SECONDS = 20 * 60


@dataclass(frozen=True)
class Log:
    """Listens (n,), ordered by user and time, and their S sessions."""

    user: np.ndarray
    """(n,) row of the user; every user of the log has listens."""
    track: np.ndarray
    """(n,) row of `track_ids`."""
    timestamp: np.ndarray
    skipped: np.ndarray
    track_ids: np.ndarray
    session_splits: np.ndarray
    """(S + 1,)"""
    first_timestamp: int
    last_timestamp: int
    session_user: np.ndarray
    """(S,) and so are those below, which are of a session's first listen."""
    session_start: np.ndarray
    hour: np.ndarray
    day_of_week: np.ndarray
    device: np.ndarray
    source: np.ndarray

    @property
    def num_users(self) -> int:
        return int(self.session_user[-1]) + 1

    @property
    def num_tracks(self) -> np.ndarray:
        """(S,)"""
        return np.diff(self.session_splits)

    @property
    def sessions_per_user(self) -> np.ndarray:
        """(U,)"""
        return np.bincount(self.session_user)

    @property
    def period(self) -> np.ndarray:
        """(S,)"""
        return PERIOD_OF_HOUR[self.hour]

    @property
    def user_splits(self) -> np.ndarray:
        """(U + 1,)"""
        return np.concatenate([[0], np.cumsum(self.sessions_per_user)])

    @property
    def kept(self) -> np.ndarray:
        """(S, 10) rows of listens; -1 after the session's last."""
        place = np.arange(KEPT)
        rows = self.session_splits[:-1, None] + place
        return np.where(place < self.num_tracks[:, None], rows, -1)


def read_log(directory: Path) -> Log:
    """Reads the listens of a log and cuts them into sessions (decision 1 of the design)."""
    table = pq.read_table(directory / "listens")
    user = _codes(table["user_id"])[0]
    track, track_ids = _codes(table["track_id"])
    timestamp = table["timestamp"].to_numpy()
    order = np.lexsort((track, timestamp, user))
    user, track, timestamp = user[order], track[order], timestamp[order]
    end = timestamp + table["ms_played"].to_numpy()[order] // 1000
    local = timestamp + 60 * table["utc_offset_minutes"].to_numpy()[order]
    is_first = np.ones(len(user), bool)
    is_first[1:] = (np.diff(user) != 0) | (timestamp[1:] - end[:-1] >= GAP_SECONDS)
    first = np.flatnonzero(is_first)
    return Log(
        user=user,
        track=track,
        timestamp=timestamp,
        skipped=table["skipped"].to_numpy()[order],
        track_ids=track_ids,
        session_splits=np.append(first, len(user)),
        first_timestamp=int(timestamp.min()),
        last_timestamp=int(timestamp.max()),
        session_user=user[first],
        session_start=timestamp[first],
        hour=local[first] % SECONDS_PER_DAY // 3600,
        # 1 January 1970 was a Thursday.
        day_of_week=(local[first] // SECONDS_PER_DAY + 3) % len(DAYS_OF_WEEK),
        device=table["device"].to_numpy()[order[first]],
        source=table["stream_source"].to_numpy()[order[first]],
    )


def embed(log: Log, vectors: np.ndarray) -> np.ndarray:
    """s (§3.3): (S, dim) unit-norm means of the first ten tracks' vectors (tracks, dim)."""
    padded = np.vstack([vectors, np.zeros_like(vectors[:1])])
    rows = np.where(log.kept < 0, len(vectors), log.track[log.kept])
    return _unit(padded[rows].sum(axis=1))


def pairwise_cosine(vectors: np.ndarray) -> float:
    """Mean cosine of all pairs of different rows of (n, dim) unit vectors."""
    return float(mean_cosine(vectors.sum(axis=0, dtype=np.float64), len(vectors)))


def track_cosine_within(log: Log, vectors: np.ndarray, is_in: np.ndarray) -> float:
    """Fig. 2a: mean cosine of pairs of plays, over all users, in sessions (S,) of a context."""
    listens = np.repeat(is_in, log.num_tracks)
    return pairwise_cosine(vectors[log.track[listens]])


def nearest_session_contexts(
    log: Log, sessions: np.ndarray, context: np.ndarray, num_contexts: int
) -> np.ndarray:
    """Fig. 3: (source, target) probabilities of the nearest session's context, minus chance.

    Args:
        log: S sessions, two or more of each user.
        sessions: (S, dim) unit vectors.
        context: (S,) of [0, num_contexts).
        num_contexts: Rows and columns of the answer.
    """
    user, rows = log.session_user, np.arange(len(context))
    (observed,) = nearest_contexts(
        sessions, user, sources=rows, codes=[context], sizes=[num_contexts]
    )
    excess = np.zeros((num_contexts, num_contexts))
    np.add.at(excess, context, observed - by_chance(user, context, num_contexts, rows))
    return excess / np.bincount(context, minlength=num_contexts)[:, None]


def skips(log: Log) -> np.ndarray:
    """§4.4: (S,) skipped tracks of each session, among all of its tracks."""
    return np.add.reduceat(log.skipped.astype(np.int64), log.session_splits[:-1])


def cosine_by_source(log: Log, sessions: np.ndarray) -> tuple[float, float]:
    """Mean cosine of two sessions of a user: of the same stream source, and of different ones."""
    source = np.unique(log.source, return_inverse=True)[1]
    same, different = np.zeros(2), np.zeros(2)
    splits = log.user_splits
    for first, last in itertools.pairwise(splits):
        cosine = sessions[first:last] @ sessions[first:last].T
        is_same = source[first:last, None] == source[first:last]
        np.fill_diagonal(cosine, 0.0)
        # Every user counts as the number of their sessions, not of their pairs.
        weight = 1.0 / (last - first)
        pairs = is_same.sum() - (last - first)
        same += weight * np.array([cosine[is_same].sum(), pairs])
        different += weight * np.array([cosine[~is_same].sum(), (~is_same).sum()])
    return float(same[0] / same[1]), float(different[0] / different[1])


def cosine_by_lag(log: Log, sessions: np.ndarray, low: float, high: float) -> float:
    """Mean cosine of two sessions of a user whose starts are from `low` to `high` days apart."""
    total, pairs = 0.0, 0.0
    splits = log.user_splits
    for first, last in itertools.pairwise(splits):
        day = log.session_start[first:last] / SECONDS_PER_DAY
        lag = day - day[:, None]
        cosine = (sessions[first:last] @ sessions[first:last].T)[(lag > low) & (lag <= high)]
        # Every user counts as the number of their sessions, not of their pairs.
        total += cosine.sum() / (last - first)
        pairs += len(cosine) / (last - first)
    return total / pairs


@dataclass(frozen=True)
class Repeats:
    """Repeat consumption of a log; every array has shape (n,), one value a listen."""

    is_repeat: np.ndarray
    """The user has played the track before."""
    days_since_last: np.ndarray
    """Since the user last played the track; infinite for the first time."""
    first_day: np.ndarray
    """Days from the log's start to the user's first play of the track."""


def repeats(log: Log) -> Repeats:
    pair = log.user.astype(np.int64) * len(log.track_ids) + log.track
    order = np.lexsort((log.timestamp, pair))
    sorted_pair, time = pair[order], log.timestamp[order] / SECONDS_PER_DAY
    is_repeat = np.zeros(len(pair), bool)
    is_repeat[1:] = sorted_pair[1:] == sorted_pair[:-1]
    since_last = np.where(is_repeat, np.diff(time, prepend=-np.inf), np.inf)
    first_row = np.maximum.accumulate(np.where(is_repeat, 0, np.arange(len(pair))))
    first_day = time[first_row] - log.first_timestamp / SECONDS_PER_DAY
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return Repeats(is_repeat[back], since_last[back], first_day[back])


def plays_after(log: Log, rows: np.ndarray, low: float, high: float) -> int:
    """Plays of the same track by the same user, `low` to `high` days after each of the listens."""
    pair = log.user.astype(np.int64) * len(log.track_ids) + log.track
    # Pair and time as one number, in which the plays after a listen are a run.
    span = 2 * (log.last_timestamp - log.first_timestamp)
    key = pair * span + log.timestamp - log.first_timestamp
    plays = np.sort(key)
    first, last = (key[rows] + int(days * SECONDS_PER_DAY) for days in (low, high))
    found = np.searchsorted(plays, last, "right") - np.searchsorted(plays, first, "right")
    return int(found.sum())


def _codes(column) -> tuple[np.ndarray, np.ndarray]:
    encoded = column.combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_numpy(zero_copy_only=False)
    # Codes in the order of the values, so that they do not depend on the files' order.
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(values)] = np.arange(len(values))
    return rank[encoded.indices.to_numpy()], np.sort(values)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
