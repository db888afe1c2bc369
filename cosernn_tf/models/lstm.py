"""The LSTM of Keras, quick on a few windows of many sessions."""

from typing import Any

import keras
import tensorflow as tf

from cosernn_tf.models.layers import PACKAGE
from cosernn_tf.models.packing import Packing
from cosernn_tf.models.recurrence import PackedRNN, Rows, backward, forward


@keras.saving.register_keras_serializable(package=PACKAGE)
class StackedLSTM(PackedRNN, keras.layers.LSTM):
    """`keras.layers.LSTM` with two initial states, (h, c): see `PackedRNN`."""

    def rows(
        self,
        packing: Packing,
        rows: tf.Tensor,
        first_h: tf.Tensor,
        first_c: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        """Gates are in Keras' order: i, f, g, o."""
        units = recurrent_kernel.shape[0]
        projected = tf.matmul(rows, kernel) + bias

        def step(now: Rows, h: Any, c: Any) -> tuple[Any, Any]:
            z = now(projected) + tf.matmul(h, recurrent_kernel)
            i, f, _, o = tf.split(tf.sigmoid(z), 4, axis=1)
            g = tf.tanh(z[:, 2 * units : 3 * units])
            c = f * c + i * g
            h = o * tf.tanh(c)
            return (h, c), tf.concat([i, f, g, o, c, h], axis=1)

        kept = forward(packing, step, (first_h, first_c), 6 * units)

        def gradient(by_output: tf.Tensor) -> tuple[tf.Tensor, ...]:
            i, f, g, o, c, h = tf.split(kept, 6, axis=1)
            tanh_c = tf.tanh(c)
            # Derivatives by what flows back: dz is `by_c * dc` for i, f and g, `o_by_h * dh` for o.
            c_by_h = o * (1 - tf.square(tanh_c))
            o_by_h = tanh_c * o * (1 - o)
            c_before = packing.before(first_c, c)
            by_c = tf.concat(
                [g * i * (1 - i), c_before * f * (1 - f), i * (1 - tf.square(g))], axis=1
            )

            def step_back(now: Rows, dh: Any, dc: Any) -> tuple[Any, Any]:
                dh += now(by_output)
                dc += dh * now(c_by_h)
                dz = tf.concat([tf.tile(dc, [1, 3]) * now(by_c), dh * now(o_by_h)], axis=1)
                return (tf.matmul(dz, recurrent_kernel, transpose_b=True), dc * now(f)), dz

            (dh, dc), dz = backward(packing, step_back, (first_h[:0], first_c[:0]), 4 * units)
            return (
                tf.matmul(dz, kernel, transpose_b=True),
                dh,
                dc,
                tf.matmul(rows, dz, transpose_a=True),
                tf.matmul(packing.before(first_h, h), dz, transpose_a=True),
                tf.reduce_sum(dz, axis=0),
            )

        return kept[:, 5 * units :], gradient
