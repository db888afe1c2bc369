"""The heuristics and oracles of §6.1: a prediction for every session, without learning.

Every function gives (sessions, dim) float32, unit norm, zero where there is nothing to go by. The
heuristics see the sessions before a session and its context; the oracles see the session itself.
"""

import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from cosernn_tf.features import (
    SessionEmbeddings,
    context_key,
    is_embedded,
    normalize,
    previous,
    weighted_history,
)
from cosernn_tf.permutations import inverse
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION
from cosernn_tf.table import SessionTable

LAST_ANY: Final = "last_any"
LAST_SAME: Final = "last_same"
AVG_ANY: Final = "avg_any"
AVG_SAME: Final = "avg_same"
POPULARITY: Final = "popularity"
ORACLE_HALF: Final = "oracle_half"
ORACLE_FULL: Final = "oracle_full"

HEURISTICS: Final[Mapping[str, str]] = {
    LAST_ANY: "Last, any cxt",
    LAST_SAME: "Last, same cxt",
    AVG_ANY: "Avg, any cxt",
    AVG_SAME: "Avg, same cxt",
    POPULARITY: "Popularity",
}
ORACLES: Final[Mapping[str, str]] = {ORACLE_HALF: "Oracle half", ORACLE_FULL: "Oracle full"}
"""Names in `scores.parquet` and in Table 2, in the table's order. No run may bear one of them."""

_GATHER_ROWS: Final = 16_384
"""Sessions whose track vectors are gathered at once: bounds memory at about 50 MB."""


def predict_heuristics(
    table: SessionTable, embeddings: SessionEmbeddings, train_listens: np.ndarray
) -> dict[str, np.ndarray]:
    """The predictions of every heuristic, in the order of `HEURISTICS`.

    Args:
        table: S sessions.
        embeddings: Of the table's sessions.
        train_listens: (tracks,) listens of each track in the training split.

    Returns:
        (S, dim) float32 by name.
    """
    last = last_any(table, embeddings)
    average = avg_any(table, embeddings)
    return {
        LAST_ANY: last,
        LAST_SAME: last_same(table, embeddings, last),
        AVG_ANY: average,
        AVG_SAME: avg_same(table, embeddings, average),
        POPULARITY: popularity(table, embeddings, train_listens),
    }


def predict_oracles(
    table: SessionTable,
    embeddings: SessionEmbeddings,
    track_embeddings: np.ndarray,
    *,
    seed: int = 0,
    sessions: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The predictions of both oracles, in the order of `ORACLES`.

    Args:
        table: S sessions.
        embeddings: Of the table's sessions.
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        seed: Of what Oracle half sees.
        sessions: Rows of the sessions that are predicted; None: all. Others may be zero.

    Returns:
        (S, dim) float32 by name.
    """
    return {
        ORACLE_HALF: oracle_half(table, track_embeddings, seed=seed, sessions=sessions),
        ORACLE_FULL: oracle_full(embeddings),
    }


# Heuristics --------------------------------------------------------------------------------------


def last_any(table: SessionTable, embeddings: SessionEmbeddings) -> np.ndarray:
    """s⁺ of the latest earlier session that has one (§6.1, "Last, any cxt")."""
    return _last(embeddings.played, table.row_splits)


def last_same(table: SessionTable, embeddings: SessionEmbeddings, of_any: np.ndarray) -> np.ndarray:
    """s⁺ of the latest earlier session of the same context that has one, else `of_any` context."""
    order, splits = _context_groups(table)
    same = np.empty_like(embeddings.played)
    same[order] = _last(embeddings.played[order], splits)
    return _fall_back(same, of_any)


def avg_any(table: SessionTable, embeddings: SessionEmbeddings) -> np.ndarray:
    """Mean of s over the earlier sessions, weighted by position (Eq. 1)."""
    return weighted_history(embeddings.all, table.row_splits)


def avg_same(table: SessionTable, embeddings: SessionEmbeddings, of_any: np.ndarray) -> np.ndarray:
    """Eq. 1 over the earlier sessions of the same context, else `of_any` context.

    The weights are positions among the sessions of that context.
    """
    order, splits = _context_groups(table)
    same = np.empty_like(embeddings.all)
    same[order] = weighted_history(embeddings.all[order], splits)
    return _fall_back(same, of_any)


def popularity(
    table: SessionTable, embeddings: SessionEmbeddings, train_listens: np.ndarray
) -> np.ndarray:
    """s⁺ of the earlier session whose tracks are the most popular (decision 10).

    A session's popularity is the mean of `train_listens` over its kept listens of known tracks;
    among equals the latest session counts. Sessions without an s⁺ are no candidates.
    """
    known = table.track >= 0
    rows = np.where(known, table.track, len(train_listens))
    listens = np.append(train_listens, 0)[rows].sum(axis=1)
    # An integer sum and one division: equal means are equal bits, so that ties are ties.
    mean = listens / np.maximum(known.sum(axis=1), 1)
    mean[~embeddings.has_played] = -1.0
    # Place of each session when sorted by (user, popularity, time): the best so far is a running
    # maximum, and a session without an s⁺ (zero vector) is best only while there is no other.
    order = np.lexsort((mean, table.user_of_session))
    best = order[np.maximum.accumulate(inverse(order))]
    return previous(embeddings.played[best], table.row_splits)


def _last(vectors: np.ndarray, row_splits: np.ndarray) -> np.ndarray:
    """The latest earlier nonzero row of each row's group, else zero. (n, dim) → (n, dim)."""
    rows = np.arange(len(vectors))
    latest = np.maximum.accumulate(np.where(vectors.any(axis=1), rows, -1))
    # Where a group has had no nonzero row yet, `latest` is in an earlier group.
    group_start = np.repeat(row_splits[:-1], np.diff(row_splits))
    upto = np.where((latest >= group_start)[:, None], vectors[latest], 0)
    return previous(upto.astype(vectors.dtype, copy=False), row_splits)


def _context_groups(table: SessionTable) -> tuple[np.ndarray, np.ndarray]:
    """Order that puts sessions of one user and context together, in time order, and its splits."""
    user, context = table.user_of_session, context_key(table)
    order = np.lexsort((context, user))
    is_first = np.ones(len(order), bool)
    is_first[1:] = np.diff(user[order]).astype(bool) | np.diff(context[order]).astype(bool)
    return order, np.append(np.flatnonzero(is_first), len(order))


def _fall_back(vectors: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    return np.where(vectors.any(axis=1, keepdims=True), vectors, otherwise)


# Oracles -----------------------------------------------------------------------------------------


def oracle_full(embeddings: SessionEmbeddings) -> np.ndarray:
    """s⁺ of the session itself (§6.1, "Oracle Full")."""
    return embeddings.played


def oracle_half(
    table: SessionTable,
    track_embeddings: np.ndarray,
    *,
    seed: int = 0,
    sessions: np.ndarray | None = None,
) -> np.ndarray:
    """Mean of half of the session's tracks, normalised (§6.1, "Oracle Half").

    Half (rounded up) of the kept listens that have an embedding, played or skipped, chosen
    uniformly at random. The choice depends on the seed, the user's id and the session's start only.

    Args:
        table: S sessions.
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        seed: Of the choice.
        sessions: Rows of the sessions that are predicted; None: all.

    Returns:
        (S, dim) float32; zero where nothing is predicted, too.
    """
    rows = np.arange(table.num_sessions) if sessions is None else sessions
    is_eligible = is_embedded(table, track_embeddings)
    of_user = _user_keys(table, seed)
    half = np.zeros((table.num_sessions, track_embeddings.shape[1]), np.float32)
    for start in range(0, len(rows), _GATHER_ROWS):
        chunk = rows[start : start + _GATHER_ROWS]
        eligible = is_eligible[chunk]
        keys = _session_keys(of_user[table.user_of_session[chunk]], table.session_start[chunk])
        keys[~eligible] = np.iinfo(np.uint64).max
        order = np.argsort(keys, axis=1, kind="stable")
        rank = np.empty(order.shape, np.int64)
        np.put_along_axis(rank, order, np.arange(order.shape[1])[None, :], axis=1)
        chosen = eligible & (rank < (eligible.sum(axis=1, keepdims=True) + 1) // 2)
        vectors = track_embeddings[np.where(chosen, table.track[chunk], 0)]
        half[chunk] = np.matmul(chosen[:, None].astype(np.float32), vectors)[:, 0]
    return normalize(half)


def _user_keys(table: SessionTable, seed: int) -> np.ndarray:
    """(U,) uint64, uniform and independent for each seed and user id."""
    salt = seed.to_bytes(8, "little", signed=True)
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(user, digest_size=8, salt=salt).digest(), "little")
            for user in table.user_id
        ],
        np.uint64,
    )


def _session_keys(of_user: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(n, 10) uint64, uniform and independent for each user's key, session start and slot."""
    of_session = _mix(of_user ^ _mix(start.astype(np.uint64)))
    slots = np.arange(1, MAX_TRACKS_PER_SESSION + 1, dtype=np.uint64)
    return _mix(of_session[:, None] + slots[None, :] * np.uint64(0x9E3779B97F4A7C15))


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64: a bijection of uint64 whose output bits look independent."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
