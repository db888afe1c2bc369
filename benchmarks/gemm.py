"""What matrix products alone would take of a training step, measured on this machine."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import keras
import tensorflow as tf

_LARGE: Final = 2048
_SECONDS: Final = 0.05
"""A product is repeated for so long at least, and the least time counts."""


@dataclass(frozen=True)
class Product:
    """The products of one weight matrix in a training step: forward, by its input, by itself."""

    rows: int
    """That are multiplied by it, in all."""
    inputs: int
    outputs: int
    calls: int
    """Of its layer: two of one that two pathways share."""
    turns: int = 1
    """In how many products of fewer rows: of a recurrent kernel the steps, and 1 of others. Its own
    gradient is one product anyway."""
    has_input_gradient: bool = True
    """False of the first layer, whose inputs are data."""

    @property
    def flops(self) -> float:
        """A multiplication and an addition are two."""
        products = 3 if self.has_input_gradient else 2
        return 2.0 * products * self.calls * self.rows * self.inputs * self.outputs

    def seconds(self) -> float:
        """What they take, at the best rate that this machine has for them."""
        rows = max(1, round(self.rows / self.turns))
        weight = tf.random.normal((self.inputs, self.outputs))
        turn = _least_seconds(tf.random.normal((rows, self.inputs)), weight)
        if self.has_input_gradient:
            turn += _least_seconds(tf.random.normal((rows, self.outputs)), weight, transpose_b=True)
        by_weight = _least_seconds(
            tf.random.normal((self.rows, self.inputs)),
            tf.random.normal((self.rows, self.outputs)),
            transpose_a=True,
        )
        return self.calls * (self.turns * turn + by_weight)


def products(model: keras.Model, *, rows: int, steps: int) -> Iterator[Product]:
    """Of a CoSeRNN, without its initial states.

    Args:
        model: A built one.
        rows: Sessions in a batch.
        steps: Of its longest window.
    """
    for layer in model.layers:
        calls = len(layer._inbound_nodes)
        if isinstance(layer, keras.layers.Dense):
            inputs, outputs = layer.kernel.shape
            is_first = layer.name == "transform_1"
            yield Product(rows, inputs, outputs, calls, has_input_gradient=not is_first)
        elif isinstance(layer, keras.layers.RNN):
            inputs, outputs = layer.cell.kernel.shape
            units = layer.cell.recurrent_kernel.shape[0]
            yield Product(rows, inputs, outputs, calls)
            yield Product(rows, units, outputs, calls, turns=steps)


def large_rate() -> float:
    """FLOP/s of a large product."""
    square = tf.random.normal((_LARGE, _LARGE))
    return 2.0 * _LARGE**3 / _least_seconds(square, square)


def _least_seconds(a: tf.Tensor, b: tf.Tensor, **transposed: bool) -> float:
    least, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        tf.raw_ops.MatMul(a=a, b=b, **transposed)
        least = min(least, time.perf_counter() - started)
    return least
