"""Features computed from sessions: embeddings of §3.3, the long-term embedding of Eq. 1, context.

Pure NumPy over a whole `SessionTable`; nothing of a session depends on a later one.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cosernn_tf.schema import DEVICES, MAX_TRACKS_PER_SESSION, PERIOD_OF_HOUR
from cosernn_tf.table import SessionTable

_ROWS_PER_CHUNK = 16_384
"""Sessions whose tracks are gathered at once: bounds memory at about 50 MB."""


@dataclass(frozen=True)
class SessionEmbeddings:
    """Embeddings of S sessions, unit norm, zero where no track qualifies (§3.3)."""

    all: np.ndarray
    """s, (S, dim) float32."""
    played: np.ndarray
    """s⁺, (S, dim) float32."""
    skipped: np.ndarray
    """s⁻, (S, dim) float32."""

    @property
    def has_played(self) -> np.ndarray:
        """(S,) bool: can be a target and is scored (decision 4)."""
        return np.asarray(self.played.any(axis=1))


def embed_sessions(table: SessionTable, track_embeddings: np.ndarray) -> SessionEmbeddings:
    """Means of the track embeddings of each session, normalised (§3.3).

    Args:
        table: S sessions.
        track_embeddings: (tracks, dim) float32, unit norm or zero; zero rows do not count.
    """
    sums = track_sums(table, track_embeddings)
    played, skipped = sums[:, 0], sums[:, 1]
    return SessionEmbeddings(
        all=normalize(played + skipped), played=normalize(played), skipped=normalize(skipped)
    )


def track_sums(table: SessionTable, track_embeddings: np.ndarray) -> np.ndarray:
    """(S, 2, dim) float32: the sums of the embeddings of played and of skipped tracks."""
    num_sessions, dim = table.num_sessions, track_embeddings.shape[1]
    # Padded and cut tracks (negative) read the zero row appended at the end.
    padded = np.vstack([track_embeddings, np.zeros((1, dim), np.float32)])
    rows = np.where(table.track < 0, len(track_embeddings), table.track)
    sums = np.empty((num_sessions, 2, dim), np.float32)
    for start in range(0, num_sessions, _ROWS_PER_CHUNK):
        chunk = slice(start, start + _ROWS_PER_CHUNK)
        weights = np.stack([table.skipped[chunk] == 0, table.skipped[chunk] == 1], axis=1)
        np.matmul(weights.astype(np.float32), padded[rows[chunk]], out=sums[chunk])
    return sums


def normalize(vectors: np.ndarray) -> np.ndarray:
    """Rows of (n, dim) scaled to unit length; zero rows stay zero."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(norms == 0, 1, norms))


def weighted_history(vectors: np.ndarray, row_splits: np.ndarray) -> np.ndarray:
    """Eq. 1 for every row: the mean of the earlier rows of its group, weighted by position.

    ū_t ∝ Σ_{t'<t} t'/(t-1) s_{t'}; the factor 1/(t-1) cancels in the normalisation.

    Args:
        vectors: (n, dim), consecutive rows of one group in time order.
        row_splits: (groups + 1,) int64.

    Returns:
        (n, dim) float32, unit norm; zero at the first row of each group.
    """
    history = np.zeros(vectors.shape, np.float32)
    for start, end in pairwise(row_splits):
        if end - start > 1:
            weights = np.arange(1, end - start, dtype=np.float64)[:, None]
            history[start + 1 : end] = np.cumsum(weights * vectors[start : end - 1], axis=0)
    return normalize(history)


def previous(values: np.ndarray, row_splits: np.ndarray) -> np.ndarray:
    """The value of each user's session before; zero for the first. (S, ...) → (S, ...)."""
    shifted = np.zeros_like(values)
    shifted[1:] = values[:-1]
    firsts = row_splits[:-1]
    shifted[firsts[firsts < len(values)]] = 0
    return shifted


def context_key(table: SessionTable) -> np.ndarray:
    """(S,) int64 that is equal for sessions of the same context (decision 9): period and device."""
    return PERIOD_OF_HOUR[table.hour] * len(DEVICES) + table.device


def is_embedded(table: SessionTable, track_embeddings: np.ndarray) -> np.ndarray:
    """(S, 10) bool: a track that has an embedding."""
    known = np.append(track_embeddings.any(axis=1), False)
    rows = np.where(table.track < 0, len(track_embeddings), table.track)
    mask: np.ndarray = known[rows]
    assert mask.shape[1:] == (MAX_TRACKS_PER_SESSION,)
    return mask
