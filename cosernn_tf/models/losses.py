"""What models are trained on: sums over the (user, session) pairs of a batch."""

import abc
from typing import Any, ClassVar, Final

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

    looks_at_repeats: ClassVar[bool] = False
    """Whether it takes `since` and `until` of the labels."""

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
    is `SHARPNESS` times the cosine of u and the track, and the a_n are those of the other tracks
    of these sessions. Both look within a window only. A session none of whose tracks was there has
    no L_t.

    Args:
        track_embeddings: (tracks, dim) float32, zero where a track has none.
        session_weight: Of L_s.
        track_weight: Of L_t.
    """

    looks_at_repeats = True

    def __init__(
        self, track_embeddings: np.ndarray, *, session_weight: float, track_weight: float
    ) -> None:
        # A variable: a constant would be written into every graph.
        self._embeddings = tf.Variable(track_embeddings, trainable=False)
        self._session_weight = session_weight
        self._track_weight = track_weight

    def __call__(self, prediction: Any, labels: Labels) -> Any:
        sequences, played, track, since, until = map(
            packings.in_sequence,
            (prediction, labels.target, labels.track, labels.since, labels.until),
        )
        vectors = tf.gather(self._embeddings, tf.maximum(track, 0))
        ranking = self._session_weight * session_ranking(sequences, played)
        ranking += self._track_weight * track_ranking(sequences, vectors, since=since, until=until)
        ranking = labels.weight * packings.as_called(ranking)
        return cosine_loss_sum(prediction, labels.target, labels.weight) + tf.reduce_sum(ranking)


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


def track_ranking(
    prediction: tf.Tensor, vectors: tf.Tensor, *, since: tf.Tensor, until: tf.Tensor
) -> tf.Tensor:
    """L_t of every session, `(batch, sessions)`.

    Sessions are taken in blocks of `TRACK_SESSIONS`: what a block looks back at is in it or in the
    one before, so that time and memory are linear in the sessions.

    Args:
        prediction: u, `(batch, sessions, dim)`.
        vectors: Embeddings of their tracks, `(batch, sessions, 10, dim)`; a zero one has none.
        since: Of these tracks, as in `Labels`, `(batch, sessions, 10)`.
        until: The same.
    """
    batch, sessions, slots = tf.unstack(tf.shape(since))
    size = TRACK_SESSIONS
    has_vector = tf.reduce_any(vectors != 0.0, axis=-1)
    blocks = -(-sessions // size)

    def blocked(values: tf.Tensor) -> tf.Tensor:
        """`(batch, sessions, ...)` to `(batch, blocks, size, ...)`, the last one filled up."""
        padding = [[0, 0], [0, blocks * size - sessions]] + [[0, 0]] * (values.shape.rank - 2)
        padded = tf.pad(values, padding)
        return tf.reshape(padded, tf.concat([[batch, blocks, size], tf.shape(values)[2:]], 0))

    def with_last(values: tf.Tensor) -> tf.Tensor:
        """Each block after the one before it, `(batch, blocks, 2 * size * 10, ...)`."""
        padding = [[0, 0], [1, 0]] + [[0, 0]] * (values.shape.rank - 2)
        pairs = tf.concat([tf.pad(values, padding)[:, :-1], values], axis=2)
        shape = tf.concat([[batch, blocks, 2 * size * slots], tf.shape(values)[4:]], 0)
        return tf.reshape(pairs, shape)

    u, own = blocked(prediction), blocked(vectors)
    scores = SHARPNESS * tf.matmul(u, with_last(own), transpose_b=True)
    lag = size + tf.range(size)[:, None] - tf.repeat(tf.range(2 * size), slots)[None, :]
    # A track counts where it was last listened to: there, it comes again in `until` sessions.
    is_other = with_last(blocked(tf.where(has_vector, until, 0)))[:, :, None, :] > lag
    is_other &= (lag >= 1) & (lag <= size)
    others = tf.reduce_logsumexp(tf.where(is_other, scores, _NO_CANDIDATE), axis=-1)
    is_own = blocked((since >= 1) & (since <= size) & has_vector)
    own_scores = SHARPNESS * tf.einsum("bcsd,bcsnd->bcsn", u, own)
    is_own = tf.cast(is_own, tf.float32)
    terms = is_own * tf.nn.softplus(others[..., None] - own_scores)
    mean = tf.math.divide_no_nan(tf.reduce_sum(terms, -1), tf.reduce_sum(is_own, -1))
    return tf.reshape(mean, tf.stack([batch, blocks * size]))[:, :sessions]
