"""The metrics of Table 2 as one would write them down: session by session, in NumPy."""

from collections.abc import Mapping

import numpy as np

from cosernn_tf.evaluation import metrics
from cosernn_tf.features import SessionEmbeddings
from cosernn_tf.table import SessionTable


def score_by_loop(
    table: SessionTable,
    embeddings: SessionEmbeddings,
    track_embeddings: np.ndarray,
    *,
    targets: np.ndarray,
    predictions: Mapping[str, np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of some sessions.

    Args:
        table: S sessions, whole histories.
        embeddings: Of the sessions.
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        targets: (n,) int64 rows of sessions that have an s⁺.
        predictions: By model, (S, dim), unit norm or zero.

    Returns:
        By model and metric, (n,) float64; NaN where a session is not scored.
    """
    has_embedding = np.asarray(track_embeddings.any(axis=1))
    has_played = embeddings.has_played
    user_of_session = table.user_of_session
    scores = {
        model: {metric.name: np.full(len(targets), np.nan) for metric in metrics.METRICS}
        for model in predictions
    }
    for place, target in enumerate(targets):
        first = table.row_splits[user_of_session[target]]
        earlier = np.flatnonzero(has_played[first:target])[::-1] + first
        sessions = embeddings.played[[target, *earlier[: max(metrics.SESSION_SIZES) - 1]]]
        tracks = _latest(table.track[first:target], has_embedding, max(metrics.TRACK_SIZES))
        vectors, is_relevant = track_embeddings[tracks], np.isin(tracks, table.track[target])
        for model, vectors_of_model in predictions.items():
            prediction, row = vectors_of_model[target], scores[model]
            cosines = sessions @ prediction
            row[metrics.COSINE][place] = cosines[0]
            for k in metrics.SESSION_SIZES:
                if len(cosines) >= k:
                    lead = cosines[1:k].astype(np.float64) - cosines[0]
                    higher = (lead > metrics.EQUAL_COSINES).sum()
                    equal = (np.abs(lead) <= metrics.EQUAL_COSINES).sum()
                    row[metrics.session_rank(k)][place] = 1 + higher + equal / 2
                    row[metrics.session_rr(k)][place] = 1 / (1 + higher + equal / 2)
            similarity = vectors @ prediction
            for k in metrics.TRACK_SIZES:
                if len(tracks) >= k and is_relevant[:k].any():
                    order = np.argsort(-similarity[:k], kind="stable")
                    places = np.flatnonzero(is_relevant[:k][order]) + 1
                    precision = np.arange(1, len(places) + 1) / places
                    row[metrics.ap(k)][place] = precision.mean()
                    found = (places <= metrics.RECALL_CUTOFF).mean()
                    row[metrics.recall(k)][place] = found
    return scores


def _latest(listened: np.ndarray, has_embedding: np.ndarray, size: int) -> np.ndarray:
    """The distinct tracks listened to last, the last one first, that have an embedding."""
    found: dict[int, None] = {}
    for session in listened[::-1].tolist():
        for track in reversed(session):
            if track >= 0 and has_embedding[track]:
                found.setdefault(track)
                if len(found) == size:
                    return np.array([*found])
    return np.array([*found], np.int64)
