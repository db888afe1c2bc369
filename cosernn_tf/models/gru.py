"""The GRU of Keras, quick on a few windows of many sessions."""

from typing import Any

import keras
import tensorflow as tf

from cosernn_tf.models.layers import PACKAGE
from cosernn_tf.models.packing import Packing
from cosernn_tf.models.recurrence import PackedRNN, Rows, backward, forward


@keras.saving.register_keras_serializable(package=PACKAGE)
class StackedGRU(PackedRNN, keras.layers.GRU):
    """`keras.layers.GRU`, which resets after the matrix product: see `PackedRNN`."""

    def rows(
        self,
        packing: Packing,
        rows: tf.Tensor,
        first_h: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
    ) -> tuple[tf.Tensor, Any]:
        """Gates are in Keras' order: z, r, and the candidate g; `bias` is (2, 3 units)."""
        units = recurrent_kernel.shape[0]
        projected = tf.matmul(rows, kernel) + bias[0]

        def step(now: Rows, h: Any) -> tuple[Any, Any]:
            by_input = now(projected)
            by_state = tf.matmul(h, recurrent_kernel) + bias[1]
            z, r = tf.split(tf.sigmoid((by_input + by_state)[:, : 2 * units]), 2, axis=1)
            to_reset = by_state[:, 2 * units :]
            g = tf.tanh(by_input[:, 2 * units :] + r * to_reset)
            h = z * h + (1 - z) * g
            return (h,), tf.concat([z, r, g, to_reset, h], axis=1)

        kept = forward(packing, step, (first_h,), 5 * units)

        def gradient(by_output: tf.Tensor) -> tuple[tf.Tensor, ...]:
            z, r, g, to_reset, h = tf.split(kept, 5, axis=1)
            h_before = packing.before(first_h, h)
            # Derivatives of what enters z, r and g, and of what is reset, by h.
            z_by_h = (h_before - g) * z * (1 - z)
            g_by_h = (1 - z) * (1 - tf.square(g))
            r_by_h = g_by_h * to_reset * r * (1 - r)
            state_by_h = tf.concat([z_by_h, r_by_h, g_by_h * r], axis=1)

            def step_back(now: Rows, dh: Any) -> tuple[Any, Any]:
                dh += now(by_output)
                flowing = tf.matmul(
                    tf.tile(dh, [1, 3]) * now(state_by_h), recurrent_kernel, transpose_b=True
                )
                return (dh * now(z) + flowing,), dh

            (first_dh,), dh = backward(packing, step_back, (first_h[:0],), units)
            by_state = tf.tile(dh, [1, 3]) * state_by_h
            by_input = tf.concat([by_state[:, : 2 * units], dh * g_by_h], axis=1)
            return (
                tf.matmul(by_input, kernel, transpose_b=True),
                first_dh,
                tf.matmul(rows, by_input, transpose_a=True),
                tf.matmul(h_before, by_state, transpose_a=True),
                tf.stack([tf.reduce_sum(by_input, axis=0), tf.reduce_sum(by_state, axis=0)]),
            )

        return kept[:, 4 * units :], gradient
