"""The layers of §5 that Keras does not have."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

_PACKAGE = "cosernn_tf"

_TINY = 1e-12
"""Least squared length that is normalised: of a zero vector, `ops.normalize` has no gradient."""


@keras.saving.register_keras_serializable(package=_PACKAGE)
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


@keras.saving.register_keras_serializable(package=_PACKAGE)
class LogStandardize(keras.layers.Layer):
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


@keras.saving.register_keras_serializable(package=_PACKAGE)
class LongTermFusion(keras.layers.Layer):
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
        squared_length = ops.sum(ops.square(fused), axis=-1, keepdims=True)
        return fused * ops.rsqrt(ops.maximum(squared_length, _TINY)), attention
