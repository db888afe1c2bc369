"""What is ranked (§6.2): each session's candidates, built once and shared by all models.

Session ranking discriminates the current session from the user's latest earlier ones; track ranking
looks for the session's tracks among those that the user listened to most recently. Decision 11 of
the README has the details.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cosernn_tf.features import is_embedded
from cosernn_tf.schema import TRACK_PADDING
from cosernn_tf.table import SessionTable

NO_SESSION: Final = -1

MAX_LOOKBACK_ELEMENTS: Final = 2**16
"""Default bound of the (sessions, listens) matrices of `track_candidates`: they stay in cache."""


class Relevance(StrEnum):
    """Which tracks of the current session are relevant in track ranking."""

    ANY = "any"
    """Those that it contains, played or skipped (§6.2.2)."""
    PLAYED = "played"
    """Those that it contains played."""


@dataclass(frozen=True)
class SessionCandidates:
    """The sessions ranked for each of n target sessions."""

    rows: np.ndarray
    """(n, size) int64 rows of the table: the target first, then the earlier sessions with an s⁺,
    the latest first; `NO_SESSION` where there are no more."""
    count: np.ndarray
    """(n,) int64 candidates of each target."""

    def scored(self, k: int) -> np.ndarray:
        """(n,) bool: has the K candidates that session ranking at K ranks."""
        return self.count >= k


def session_candidates(
    table: SessionTable, has_played: np.ndarray, targets: np.ndarray, *, size: int
) -> SessionCandidates:
    """Each target and the `size` - 1 latest earlier sessions of its user that have an s⁺ (§6.2.1).

    The candidates of a smaller K are the first K.

    Args:
        table: S sessions.
        has_played: (S,) bool, has an s⁺.
        targets: (n,) int64 rows of sessions that have an s⁺.
        size: The largest K.

    Raises:
        ValueError: A target has no s⁺.
    """
    if not has_played[targets].all():
        raise ValueError("every target session must have a played track that has an embedding")
    rows = np.flatnonzero(has_played)
    before = np.concatenate([[0], np.cumsum(has_played)])
    first = before[table.row_splits[:-1]][table.user_of_session[targets]]
    count = np.minimum(before[targets] - first + 1, size)
    back = np.arange(size)
    index = np.maximum(before[targets][:, None] - back, 0)
    return SessionCandidates(np.where(back < count[:, None], rows[index], NO_SESSION), count)


@dataclass(frozen=True)
class TrackCandidates:
    """The tracks ranked for each of n target sessions."""

    tracks: np.ndarray
    """(n, size) int64 rows of the track vocabulary, the most recently listened to first;
    `TRACK_PADDING` where there are no more."""
    relevant: np.ndarray
    """(n, size) bool: contained in the target session."""
    count: np.ndarray
    """(n,) int64 candidates of each target."""

    def scored(self, k: int) -> np.ndarray:
        """(n,) bool: has K candidates, at least one of them relevant."""
        scored: np.ndarray = (self.count >= k) & self.relevant[:, :k].any(axis=1)
        return scored


def track_candidates(
    table: SessionTable,
    track_embeddings: np.ndarray,
    targets: np.ndarray,
    *,
    size: int,
    relevance: Relevance = Relevance.ANY,
    max_elements: int = MAX_LOOKBACK_ELEMENTS,
) -> TrackCandidates:
    """The `size` distinct tracks with an embedding listened to last before each target (§6.2.2).

    All earlier sessions of the user count, as kept. The candidates of a smaller K are the first K.

    A listen is the last one of its track before a target if the user's next listen of that track is
    not before the target. So each target looks back over its listens, keeps those, and stops at
    `size`; targets that are not full look back on, over windows that double.

    Args:
        table: S sessions.
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        targets: (n,) int64 rows of sessions.
        size: The largest K.
        relevance: Which tracks of the target are relevant.
        max_elements: Listens looked at at once, over all targets; bounds the memory.
    """
    embedded = is_embedded(table, track_embeddings)
    listened = table.track[embedded]
    first_listen = np.concatenate([[0], np.cumsum(embedded.sum(axis=1))])
    of_user = first_listen[table.row_splits]
    # A window reaches back over the first listen of a user who has few; and what the users before
    # have is not kept, as nothing of theirs comes next after their own last listen.
    next_listen = _next_listen(listened, of_user)

    end = first_listen[targets].astype(np.int32)
    limit = of_user[:-1][table.user_of_session[targets]]
    tracks = np.full((len(targets), size), TRACK_PADDING, np.int64)
    count = np.zeros(len(targets), np.int32)
    cursor, width = first_listen[targets], 2 * size
    active = np.flatnonzero(cursor > limit)
    while active.size:
        width = min(width, max_elements)
        padded = np.concatenate([np.full(width, -1, np.int32), next_listen])
        before = sliding_window_view(padded, width)
        rows_at_once = max_elements // width
        for start in range(0, active.size, rows_at_once):
            rows = active[start : start + rows_at_once]
            # The latest listen first.
            keep = before[cursor[rows]][:, ::-1] >= end[rows, None]
            place = count[rows, None] + np.cumsum(keep, axis=1, dtype=np.int32)
            keep &= place <= size
            # Flat, several times faster than by row and column.
            kept = np.flatnonzero(keep)
            row, back = np.divmod(kept, width)
            row = rows[row]
            tracks[row, place.ravel()[kept] - 1] = listened[cursor[row] - 1 - back]
            count[rows] = np.minimum(place[:, -1], size)
        cursor[active] -= width
        active = active[(count[active] < size) & (cursor[active] > limit[active])]
        width *= 2
    relevant = _relevant(table, targets, tracks, relevance)
    return TrackCandidates(tracks, relevant, count.astype(np.int64))


def _next_listen(listened: np.ndarray, of_user: np.ndarray) -> np.ndarray:
    """(n,) int32 row of the user's next listen of the same track; the user's end if there is none.

    Args:
        listened: (n,) int64 tracks, user by user, in time order.
        of_user: (users + 1,) int64: where the listens of each user begin.
    """
    # Sorted by track, then row, each user's listens of a track stand together and in time order.
    # One integer holds both (a table has fewer than 2³¹ listens): several times faster to sort.
    keys = (listened << 32) | np.arange(len(listened))
    keys.sort()
    order = keys & 0xFFFFFFFF
    end_of_user = np.repeat(of_user[1:], np.diff(of_user)).astype(np.int32)
    is_repeat = np.diff(keys >> 32) == 0
    is_repeat &= end_of_user[order[1:]] == end_of_user[order[:-1]]
    following = end_of_user
    following[order[:-1][is_repeat]] = order[1:][is_repeat]
    return following


def _relevant(
    table: SessionTable, targets: np.ndarray, tracks: np.ndarray, relevance: Relevance
) -> np.ndarray:
    """(n, size) bool: the target session contains the candidate."""
    current = table.track[targets]
    if Relevance(relevance) is Relevance.PLAYED:
        current = np.where(table.skipped[targets] == 0, current, TRACK_PADDING)
    relevant = np.zeros(tracks.shape, bool)
    for slot in range(current.shape[1]):
        relevant |= tracks == current[:, slot, None]
    return relevant & (tracks >= 0)
