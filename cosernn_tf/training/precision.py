"""What a run computes in."""

import contextlib
from collections.abc import Iterator

import keras

from cosernn_tf.config import TrainConfig


@contextlib.contextmanager
def precision(config: TrainConfig) -> Iterator[None]:
    """Layers that are made in the block compute in the precision of `config`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def make_optimizer(config: TrainConfig) -> keras.optimizers.Optimizer:
    """Adam; of float16, whose small gradients would be zero, with a scale of the loss."""
    adam = keras.optimizers.Adam(config.learning_rate)
    if config.precision != "mixed_float16":
        return adam
    return keras.optimizers.LossScaleOptimizer(adam)
