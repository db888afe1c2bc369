"""The layers of §5 and of the baselines (§6.1) that Keras does not have."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from cosernn_tf.models import packing as packings
from cosernn_tf.schema import USER_UNKNOWN

PACKAGE = "cosernn_tf"

_TINY = 1e-12
"""Least squared length that is normalised: of a zero vector, `ops.normalize` has no gradient."""

_SMALL = 0.05
"""Deviation of the first weights of `modulation`."""


class Float32Layer(keras.layers.Layer):
    """Computes in float32 whatever the precision of a model is (`--precision`).

    Seconds are beyond what float16 has, and lengths and cosines are to be told to the last digits.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})


@keras.saving.register_keras_serializable(package=PACKAGE)
class OneHot(keras.layers.Layer):
    """One-hot encoding of a categorical feature.

    Input shape: `(batch, sessions)` int32. Output shape: `(batch, sessions, num_classes)`.

    Args:
        num_classes: Size of the vocabulary; a row outside of it encodes as zeros.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def call(self, inputs: Any) -> Any:
        return ops.one_hot(inputs, self.num_classes, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package=PACKAGE)
class ByteDropout(keras.layers.Dropout):
    """Keras' dropout, with a random byte a value where that one draws a float.

    To draw is most of what dropout costs on a CPU. The rate is rounded to 1/256, 2/256 ... 255/256.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return inputs
        dropped = min(max(1, round(256 * self.rate)), 255)
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        words = tf.random.stateless_uniform(
            [-(-tf.size(inputs) // 4)], seed, minval=None, maxval=None, dtype=tf.uint32
        )
        drawn = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[: tf.size(inputs)]
        is_kept = tf.reshape(drawn, tf.shape(inputs)) >= tf.constant(dropped, tf.uint8)
        return inputs * (tf.cast(is_kept, inputs.dtype) * (256 / (256 - dropped)))


@keras.saving.register_keras_serializable(package=PACKAGE)
class LogStandardize(Float32Layer):
    """`(log1p(x) - mean) / deviation`, for the counts N and the seconds Δ (decision 5).

    Input shape: `(batch, sessions)`. Output shape: `(batch, sessions, 1)`.

    Args:
        mean: Of log1p(x) over the training split.
        deviation: Standard deviation of the same, above 0.
    """

    def __init__(self, mean: float, deviation: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if deviation <= 0:
            raise ValueError(f"deviation must be above 0, got {deviation}")
        self.mean = mean
        self.deviation = deviation

    def call(self, inputs: Any) -> Any:
        return ops.expand_dims((ops.log1p(inputs) - self.mean) / self.deviation, axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "deviation": self.deviation}


@keras.saving.register_keras_serializable(package=PACKAGE)
class LongTermFusion(Float32Layer):
    """Fuses the offset with the long-term embedding: u = β̂ û + β̄ ū, unit norm (§5.1.4).

    Without history ū is zero and all attention falls to û (decision 7).

    Input shape: offset û `(batch, sessions, dim)`, long-term ū `(batch, sessions, dim)`, attention
    [β̂, β̄] `(batch, sessions, 2)`.
    Output shape: user embedding u `(batch, sessions, dim)`, attention `(batch, sessions, 2)`.
    """

    def call(self, inputs: Sequence[Any]) -> tuple[Any, Any]:
        offset, long_term, attention = inputs
        has_history = ops.any(ops.not_equal(long_term, 0.0), axis=-1, keepdims=True)
        only_offset = ops.stack(
            [ops.ones_like(attention[..., 0]), ops.zeros_like(attention[..., 1])], axis=-1
        )
        attention = ops.where(has_history, attention, only_offset)
        fused = attention[..., :1] * offset + attention[..., 1:] * long_term
        return unit_norm(fused), attention


@keras.saving.register_keras_serializable(package=PACKAGE)
class UnitNorm(Float32Layer):
    """Scales vectors to unit length, zero ones aside. Shape: `(batch, sessions, dim)`."""

    def call(self, inputs: Any) -> Any:
        return unit_norm(inputs)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Modulate(keras.layers.Layer):
    """h ∗ (1 + w), elementwise: the projection of JODIE, and the cross of LatentCross.

    Input shape: h and w, `(batch, sessions, dim)` each. Output shape: `(batch, sessions, dim)`.
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        state, weight = inputs
        return state * (1.0 + weight)


def modulation(units: int, *, name: str) -> keras.layers.Dense:
    """The w of `Modulate`, linear in its input; small at first, so that 1 + w is near 1."""
    return keras.layers.Dense(
        units,
        use_bias=False,
        kernel_initializer=keras.initializers.RandomNormal(stddev=_SMALL),
        name=name,
    )


@keras.saving.register_keras_serializable(package=PACKAGE)
class UserEmbedding(keras.layers.Layer):
    """An embedding of each user of a list, learned, and one that all other users share.

    Input shape: `(batch,)` string. Output shape: `(batch, 1, dim)`; packed, `(rows, 1, dim)`.

    Args:
        users: Their ids: what the model knows users by travels with it, wherever it is loaded.
        dim: Of an embedding.
    """

    def __init__(self, users: Sequence[str], dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.users = list(users)
        self.dim = dim
        # Row 0 is of those who are not in it; the table may not be empty.
        ids = tf.constant([USER_UNKNOWN, *self.users], tf.string)
        rows = tf.range(len(self.users) + 1, dtype=tf.int64)
        self._rows = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(ids, rows), default_value=0
        )

    def build(self, _: Any) -> None:
        self.embeddings = self.add_weight(
            shape=(len(self.users) + 1, self.dim), initializer="uniform", name="embeddings"
        )

    def call(self, inputs: Any) -> Any:
        rows = self._rows.lookup(inputs)
        packing = packings.current()
        if packing is not None:
            rows = ops.take(rows, packing.window_of_row, axis=0)
        return ops.take(self.embeddings, rows[:, None], axis=0)

    def compute_output_shape(self, input_shape: tuple[int | None]) -> tuple[int | None, int, int]:
        return (*input_shape, 1, self.dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "users": self.users, "dim": self.dim}


def unit_norm(vectors: Any) -> Any:
    squared_length = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squared_length, _TINY))
