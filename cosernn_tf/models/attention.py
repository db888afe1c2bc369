"""Attention over a user's earlier sessions: the layers of `encore`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import keras
import tensorflow as tf
from keras import ops

from cosernn_tf.models import packing as packings
from cosernn_tf.models import stepping
from cosernn_tf.models.layers import PACKAGE, Float32Layer, unit_norm
from cosernn_tf.models.stepping import Part

RECENT: Final = 8
"""Latest sessions that heads can tell apart by nothing but their place."""

_HOUR = 3600.0
_NOT_ATTENDED = -1e9


@keras.saving.register_keras_serializable(package=PACKAGE)
class Previous(keras.layers.Layer):
    """What the session before had; zero for the first. Shape: `(batch, sessions, dim)`."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        self._dim = input_shape[-1]

    def carries(self) -> Mapping[str, Part]:
        """What the session had."""
        return {"value": Part((self._dim,))}

    def call(self, inputs: Any) -> Any:
        carried = stepping.current()
        if carried is not None:
            (before,) = carried.take(self)
            carried.leave(self, [inputs[:, 0]])
            return tf.cast(before, inputs.dtype)[:, None]
        sequences = packings.in_sequence(inputs)
        return packings.as_called(ops.pad(sequences[:, :-1], [[0, 0], [1, 0], [0, 0]]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable(package=PACKAGE)
class OfEverySession(keras.layers.Layer):
    """A user's vector, beside each of the sessions.

    Input shape: `(batch, dim)`, and any `(batch, sessions, ...)`. Output shape:
    `(batch, sessions, dim)`.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        of_user, per_session = inputs
        packing = packings.current()
        if packing is not None:
            return ops.take(of_user, packing.window_of_row, axis=0)[:, None]
        return ops.repeat(of_user[:, None], ops.shape(per_session)[1], axis=1)

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        of_user, per_session = input_shape
        return (of_user[0], per_session[1], of_user[1])


@keras.saving.register_keras_serializable(package=PACKAGE)
class SessionAttention(Float32Layer):
    """Every session looks back at those before, by content, context, time and order.

    With i = 1..t for the session before session i (so that the inputs of session i describe it),
    head h of session t gives Σ_i α_i v_i, where

        α = softmax_i(
            qᵀk_i / √K + r_h,t-i - (a_h + a_t) log(1 + hours) - (b_h + b_t) log(1 + t - i)
        )

    over the `memory` latest i that have a value. `hours` sums the gaps Δ_i..Δ_t between them; r
    tells the `RECENT` latest apart, whatever they are, and is zero of others. Where no i has a
    value, the result is zero.

    Input shape: queries and keys `(batch, sessions, heads * K)`; decay `(batch, sessions, 2 *
    heads)`, the a_t and b_t of all heads; values `(batch, sessions, values)`, zero where there is
    none; seconds Δ `(batch, sessions)`.
    Output shape: `(batch, sessions, heads, values)`.

    Args:
        heads: How many.
        memory: Earlier sessions that are looked at.
    """

    def __init__(self, heads: int, memory: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads
        self.memory = memory

    def build(self, input_shape: Sequence[Any]) -> None:
        self._key_dim, self._value_dim = input_shape[1][-1], input_shape[3][-1]
        self.decay = self.add_weight(shape=(2 * self.heads,), initializer="zeros", name="decay")
        self.recent = self.add_weight(
            shape=(self.heads, RECENT), initializer="zeros", name="recent"
        )

    def carries(self) -> Mapping[str, Part]:
        """Of the `memory` latest sessions, the oldest first: key, value, and the seconds since."""
        return {
            "keys": Part((self.memory, self._key_dim)),
            "values": Part((self.memory, self._value_dim)),
            "seconds": Part((self.memory,), "float64"),
        }

    def call(self, inputs: Sequence[Any]) -> Any:
        carried = stepping.current()
        if carried is not None:
            return self._one_step(carried, inputs)
        queries, keys, decay, values, seconds = map(packings.in_sequence, inputs)
        steps = tf.range(tf.shape(values)[1])
        sessions = steps[:, None] - steps[None, :]
        # Of a year in float32 an hour is lost where a recent gap is the difference of two sums.
        end = tf.cumsum(tf.cast(seconds, tf.float64), axis=1)
        start = end - tf.cast(seconds, tf.float64)
        between = end[:, :, None] - start[:, None, :]
        means = self._means(queries, keys, decay, values, seconds=between, sessions=sessions)
        return packings.as_called(means)

    def _one_step(self, carried: stepping.Carried, inputs: Sequence[Any]) -> Any:
        queries, key, decay, value, gap = inputs
        keys, values, seconds = carried.take(self)
        keys = tf.concat([keys[:, 1:], key], axis=1)
        values = tf.concat([values[:, 1:], value], axis=1)
        seconds = tf.pad(seconds[:, 1:], [[0, 0], [0, 1]]) + tf.cast(gap, tf.float64)
        carried.leave(self, [keys, values, seconds])
        sessions = tf.range(self.memory)[::-1][None, :]
        return self._means(
            queries, keys, decay, values, seconds=seconds[:, None], sessions=sessions
        )

    def _means(
        self,
        queries: tf.Tensor,
        keys: tf.Tensor,
        decay: tf.Tensor,
        values: tf.Tensor,
        *,
        seconds: tf.Tensor,
        sessions: tf.Tensor,
    ) -> tf.Tensor:
        """Of n sessions that look at m.

        Args:
            queries: `(batch, n, heads * K)`.
            keys: `(batch, m, heads * K)`.
            decay: `(batch, n, 2 * heads)`.
            values: `(batch, m, values)`.
            seconds: From before each of the m to each of the n, `(batch, n, m)`.
            sessions: From each of the m to each of the n, `(n, m)`.

        Returns:
            `(batch, n, heads, values)`.
        """
        queries, keys = self._by_head(queries), self._by_head(keys)
        logits = tf.matmul(queries, keys, transpose_b=True) / math.sqrt(queries.shape[-1])
        by_time, by_order = tf.split(self._by_head(self.decay + decay), 2, axis=-1)
        logits -= by_time * _log_lag(tf.cast(seconds / _HOUR, tf.float32))[:, None]
        logits -= by_order * _log_lag(tf.cast(sessions, tf.float32))
        # A row that is out of range is zero.
        is_recent = tf.one_hot(sessions, RECENT)
        logits += tf.einsum("hr,tir->hti", tf.convert_to_tensor(self.recent), is_recent)

        has_value = tf.reduce_any(values != 0.0, axis=-1)
        attended = ((sessions >= 0) & (sessions < self.memory))[None] & has_value[:, None, :]
        weights = tf.nn.softmax(tf.where(attended[:, None], logits, _NOT_ATTENDED))
        weights *= tf.cast(attended, tf.float32)[:, None]
        return tf.transpose(tf.matmul(weights, values[:, None]), [0, 2, 1, 3])

    def _by_head(self, vectors: tf.Tensor) -> tf.Tensor:
        """`(batch, sessions, heads * dim)` to `(batch, heads, sessions, dim)`."""
        batch, sessions = tf.unstack(tf.shape(vectors)[:2])
        dim = vectors.shape[-1] // self.heads
        split = tf.reshape(vectors, tf.stack([batch, sessions, self.heads, dim]))
        return tf.transpose(split, [0, 2, 1, 3])

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        *_, values, _ = input_shape
        return (*values[:2], self.heads, values[2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "memory": self.memory}


@keras.saving.register_keras_serializable(package=PACKAGE)
class FirstVectors(keras.layers.Layer):
    """Of vectors that every head has side by side, the first, side by side.

    Input shape: `(batch, sessions, heads, count * dim)`. Output shape: `(batch, sessions, heads *
    dim)`.

    Args:
        dim: Of a vector.
    """

    def __init__(self, dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dim = dim

    def call(self, inputs: Any) -> Any:
        batch, sessions = ops.shape(inputs)[:2]
        size = self.compute_output_shape(inputs.shape)[-1]
        return ops.reshape(inputs[..., : self.dim], (batch, sessions, size))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        *_, heads, _ = input_shape
        assert heads is not None
        return (*input_shape[:2], heads * self.dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim}


@keras.saving.register_keras_serializable(package=PACKAGE)
class WeightedSum(Float32Layer):
    """û + g ū + Σ g_v v, unit norm, over `count` remembered vectors v.

    Input shape: offset û `(batch, sessions, dim)`; weights g, `(batch, sessions, 1 + count)`, that
    of ū first; ū `(batch, sessions, dim)`; v `(batch, sessions, count * dim)`.
    Output shape: `(batch, sessions, dim)`.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        offset, weights, long_term, remembered = inputs
        vectors = ops.concatenate([long_term, remembered], axis=-1)
        shape = ops.shape(offset)
        vectors = ops.reshape(vectors, (shape[0], shape[1], weights.shape[-1], offset.shape[-1]))
        return unit_norm(offset + ops.einsum("btv,btvd->btd", weights, vectors))

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[int | None, ...]:
        return tuple(input_shape[0])


def _log_lag(lag: tf.Tensor) -> tf.Tensor:
    # What is ahead is not attended to, but must not be NaN.
    return tf.math.log1p(tf.maximum(lag, 0.0))
