"""The plain recurrent layer of Keras, quick on a few windows of many sessions."""

from typing import Any

import keras
import tensorflow as tf

from cosernn_tf.models.layers import PACKAGE
from cosernn_tf.models.packing import Packing
from cosernn_tf.models.recurrence import PackedRNN, Rows, backward, forward


@keras.saving.register_keras_serializable(package=PACKAGE)
class StackedRNN(PackedRNN, keras.layers.SimpleRNN):
    """`keras.layers.SimpleRNN`, whose state is a tanh: see `PackedRNN`."""

    def rows(
        self,
        packing: Packing,
        rows: tf.Tensor,
        first_h: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        projected = tf.matmul(rows, kernel) + bias

        def step(now: Rows, h: Any) -> tuple[Any, Any]:
            h = tf.tanh(now(projected) + tf.matmul(h, recurrent_kernel))
            return (h,), h

        h = forward(packing, step, (first_h,), first_h.shape[1])

        def gradient(by_output: tf.Tensor) -> tuple[tf.Tensor, ...]:
            by_tanh = 1 - tf.square(h)

            def step_back(now: Rows, dh: Any) -> tuple[Any, Any]:
                dz = (dh + now(by_output)) * now(by_tanh)
                return (tf.matmul(dz, recurrent_kernel, transpose_b=True),), dz

            (dh,), dz = backward(packing, step_back, (first_h[:0],), first_h.shape[1])
            return (
                tf.matmul(dz, kernel, transpose_b=True),
                dh,
                tf.matmul(rows, dz, transpose_a=True),
                tf.matmul(packing.before(first_h, h), dz, transpose_a=True),
                tf.reduce_sum(dz, axis=0),
            )

        return h, gradient
