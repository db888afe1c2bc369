"""What models are trained on: sums over the (user, session) pairs of a batch."""

import abc
from typing import Any, Final

import numpy as np
import tensorflow as tf

from cosernn_tf.config import TrainConfig
from cosernn_tf.models import packing as packings
from cosernn_tf.models.base import cosine_loss_sum
from cosernn_tf.windows import Labels

SHARPNESS: Final = 5.0
"""What cosines are multiplied by before a softmax over candidates."""
SESSIONS: Final = 50
"""Candidates of the session term: the session and those before it, as in evaluation (§6.2.1)."""
TRACK_SESSIONS: Final = 25
"""Earlier sessions whose tracks are the candidates of the track term."""

_NO_CANDIDATE: Final = -1e9


class Loss(abc.ABC):
    """Of predictions u `(batch, sessions, dim)`, unit norm, and the `Labels` of their sessions."""

    @abc.abstractmethod
    def __call__(self, prediction: Any, labels: Labels) -> Any:
        """The sum over pairs; the mean divides by the sum of `labels.weight`."""


class CosineLoss(Loss):
    """1 - uᵀs⁺ (§5.2.1)."""

    def __call__(self, prediction: Any, labels: Labels) -> Any:
        return cosine_loss_sum(prediction, labels.target, labels.weight)


class RankingLoss(Loss):
    """The cosine loss, and what §6.2 ranks by the prediction: sessions, and tracks.

        1 - uᵀs⁺_t + session_weight · L_s + track_weight · L_t

    L_s is the cross-entropy of the session among itself and the `SESSIONS` - 1 before it that have
    an s⁺, by softmax of `SHARPNESS` uᵀs⁺. L_t is, on average over the session's tracks that were
    listened to in the `TRACK_SESSIONS` sessions before it, softplus(log Σ_n exp(a_n) - a), where a
    is `SHARPNESS` times the cosine of u and the track, and the a_n are those of all other listens
    of these sessions. Both look within a window only. A session none of whose tracks was there has
    no L_t.

    Args:
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        session_weight: Of L_s.
        track_weight: Of L_t.
    """

    def __init__(
        self, track_embeddings: np.ndarray, *, session_weight: float, track_weight: float
    ) -> None:
        # A variable: a constant would be written into every graph.
        self._embeddings = tf.Variable(track_embeddings, trainable=False)
        self._session_weight = session_weight
        self._track_weight = track_weight

    def __call__(self, prediction: Any, labels: Labels) -> Any:
        sequences, played, tracks = map(
            packings.in_sequence, (prediction, labels.target, labels.track)
        )
        ranking = self._session_weight * session_ranking(sequences, played)
        ranking += self._track_weight * self._track_ranking(sequences, tracks)
        ranking = labels.weight * packings.as_called(ranking)
        return cosine_loss_sum(prediction, labels.target, labels.weight) + tf.reduce_sum(ranking)

    def _track_ranking(self, prediction: tf.Tensor, tracks: tf.Tensor) -> tf.Tensor:
        vectors = tf.gather(self._embeddings, tf.maximum(tracks, 0))
        return track_ranking(prediction, tracks, vectors)


def create_loss(config: TrainConfig, track_embeddings: np.ndarray) -> Loss:
    """That of `--loss`, with the weights of its terms."""
    if config.loss == "cosine":
        return CosineLoss()
    return RankingLoss(
        track_embeddings,
        session_weight=config.session_weight,
        track_weight=config.track_weight,
    )


def session_ranking(prediction: tf.Tensor, played: tf.Tensor) -> tf.Tensor:
    """L_s of every session, `(batch, sessions)`.

    Args:
        prediction: u, `(batch, sessions, dim)`.
        played: s⁺ of the same sessions, zero where there is none.
    """
    steps = tf.range(tf.shape(played)[1])
    lag = steps[:, None] - steps[None, :]
    is_candidate = ((lag >= 0) & (lag < SESSIONS))[None]
    is_candidate &= tf.reduce_any(played != 0.0, axis=-1)[:, None, :]
    logits = SHARPNESS * tf.matmul(prediction, played, transpose_b=True)
    logits = tf.where(is_candidate, logits, _NO_CANDIDATE)
    return tf.reduce_logsumexp(logits, axis=-1) - tf.linalg.diag_part(logits)


def track_ranking(prediction: tf.Tensor, tracks: tf.Tensor, vectors: tf.Tensor) -> tf.Tensor:
    """L_t of every session, `(batch, sessions)`.

    Sessions are taken in blocks of `TRACK_SESSIONS`: what a block looks back at is in it or in the
    one before, so that time and memory are linear in the sessions.

    Args:
        prediction: u, `(batch, sessions, dim)`.
        tracks: Their tracks, `(batch, sessions, 10)`; negative where there is none.
        vectors: Embeddings of `tracks`, `(batch, sessions, 10, dim)`; a zero one has none.
    """
    batch, sessions, slots = tf.unstack(tf.shape(tracks))
    size = TRACK_SESSIONS
    tracks = tf.where(tf.reduce_any(vectors != 0.0, axis=-1), tracks, -1)
    blocks = -(-sessions // size)

    def blocked(values: tf.Tensor, fill: Any) -> tf.Tensor:
        """`(batch, sessions, ...)` to `(batch, blocks, size, ...)`, the last one filled up."""
        padding = [[0, 0], [0, blocks * size - sessions]] + [[0, 0]] * (values.shape.rank - 2)
        padded = tf.pad(values, padding, constant_values=fill)
        return tf.reshape(padded, tf.concat([[batch, blocks, size], tf.shape(values)[2:]], 0))

    def with_last(values: tf.Tensor, fill: Any) -> tf.Tensor:
        """Each block after the one before it: `(batch, blocks, 2 * size, ...)`."""
        padding = [[0, 0], [1, 0]] + [[0, 0]] * (values.shape.rank - 2)
        return tf.concat([tf.pad(values, padding, constant_values=fill)[:, :-1], values], axis=2)

    own, scores_of = blocked(tracks, -1), blocked(prediction, 0.0)
    candidates = with_last(own, -1)
    embeddings = blocked(vectors, 0.0)
    own_scores = SHARPNESS * tf.einsum("bcsd,bcsnd->bcsn", scores_of, embeddings)
    scores = SHARPNESS * tf.einsum("bcsd,bckd->bcsk", scores_of, _flat(with_last(embeddings, 0.0)))
    candidates = tf.reshape(candidates, tf.stack([batch, blocks, 1, 2 * size * slots]))
    lag = size + tf.range(size)[:, None] - tf.repeat(tf.range(2 * size), slots)[None, :]
    is_candidate = ((lag >= 1) & (lag <= size))[None, None] & (candidates >= 0)

    # One slot at a time: all at once would take ten times the memory.
    is_own, is_seen = tf.zeros_like(is_candidate), []
    for slot in range(tracks.shape[-1]):
        equal = is_candidate & (candidates == own[..., slot, None])
        is_own |= equal
        is_seen.append(tf.reduce_any(equal, axis=-1))
    others = tf.reduce_logsumexp(tf.where(is_candidate & ~is_own, scores, _NO_CANDIDATE), axis=-1)
    seen = tf.cast(tf.stack(is_seen, axis=-1), tf.float32)
    terms = seen * tf.nn.softplus(others[..., None] - own_scores)
    mean = tf.math.divide_no_nan(tf.reduce_sum(terms, -1), tf.reduce_sum(seen, -1))
    return tf.reshape(mean, tf.stack([batch, blocks * size]))[:, :sessions]


def _flat(vectors: tf.Tensor) -> tf.Tensor:
    """`(batch, blocks, sessions, 10, dim)` to `(batch, blocks, sessions * 10, dim)`."""
    shape = tf.shape(vectors)
    return tf.reshape(vectors, tf.concat([shape[:2], [shape[2] * shape[3]], shape[4:]], 0))
