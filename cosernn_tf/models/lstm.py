"""The LSTM of Keras, with what does not depend on the step before computed for all steps at once.

A batch of CoSeRNN's training is a few windows of hundreds of sessions. Keras' loop then spends its
time reading weights: each step multiplies a few rows by both kernels, and its gradient adds to
both once more. Here a step multiplies by the recurrent kernel only, and the rest is one matrix
product over all steps, forward and backward.
"""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="cosernn_tf")
class StackedLSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` with the same weights, results and gradients, quicker on the CPU.

    With a GPU, which has kernels of its own for all of this, it is the layer of Keras. It takes no
    mask and returns sequences.

    Input shape: `(batch, sessions, dim)`, and the initial state, `(batch, units)` twice.
    Output shape: `(batch, sessions, units)`.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **{**kwargs, "return_sequences": True})

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        if mask is not None:
            raise ValueError("StackedLSTM takes no mask: pad on the right, and ignore the outputs")
        if tf.config.list_logical_devices("GPU"):
            return super().call(sequences, initial_state=initial_state, training=training)
        h, c = initial_state
        weights = (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
        return _lstm(sequences, h, c, *(tf.convert_to_tensor(weight) for weight in weights))


@tf.custom_gradient
def _lstm(
    inputs: tf.Tensor,
    first_h: tf.Tensor,
    first_c: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
) -> tuple[tf.Tensor, Any]:
    """Outputs of all steps, `(batch, steps, units)`; gates are in Keras' order: i, f, g, o.

    Within, time comes first: `(steps, batch, ...)`.
    """
    units = recurrent_kernel.shape[0]
    inputs = _swapped(inputs)
    projected = tf.tensordot(inputs, kernel, axes=1) + bias
    steps = tf.shape(inputs)[0]

    def forward(step: Any, h: Any, c: Any, outputs: Any, cells: Any, gates: Any) -> tuple[Any, ...]:
        z = projected[step] + tf.matmul(h, recurrent_kernel)
        i, f, _, o = tf.split(tf.sigmoid(z), 4, axis=1)
        g = tf.tanh(z[:, 2 * units : 3 * units])
        c = f * c + i * g
        h = o * tf.tanh(c)
        gates = gates.write(step, tf.concat([i, f, g, o], axis=1))
        return step + 1, h, c, outputs.write(step, h), cells.write(step, c), gates

    *_, outputs, cells, gates = tf.while_loop(
        lambda step, *_: step < steps,
        forward,
        (
            0,
            first_h,
            first_c,
            *(_array(steps, width, inputs.dtype) for width in (units, units, 4 * units)),
        ),
    )
    h, c, gates = outputs.stack(), cells.stack(), gates.stack()

    def gradient(output_gradient: tf.Tensor) -> tuple[tf.Tensor, ...]:
        output_gradient = _swapped(output_gradient)
        i, f, g, o = tf.split(gates, 4, axis=2)
        tanh_c = tf.tanh(c)
        # Derivatives by what flows back: dz is `by_c * dc` for i, f and g, and `o_by_h * dh` for o.
        c_by_h = o * (1 - tf.square(tanh_c))
        o_by_h = tanh_c * o * (1 - o)
        last_c = tf.concat([first_c[None], c[:-1]], axis=0)
        by_c = tf.concat([g * i * (1 - i), last_c * f * (1 - f), i * (1 - tf.square(g))], axis=2)

        def backward(step: Any, dh: Any, dc: Any, gradients: Any) -> tuple[Any, ...]:
            dh += output_gradient[step]
            dc += dh * c_by_h[step]
            dz = tf.concat([tf.tile(dc, [1, 3]) * by_c[step], dh * o_by_h[step]], axis=1)
            dh = tf.matmul(dz, recurrent_kernel, transpose_b=True)
            return step - 1, dh, dc * f[step], gradients.write(step, dz)

        _, dh, dc, gradients = tf.while_loop(
            lambda step, *_: step >= 0,
            backward,
            (
                steps - 1,
                tf.zeros_like(first_h),
                tf.zeros_like(first_c),
                _array(steps, 4 * units, inputs.dtype),
            ),
        )
        dz = gradients.stack()
        last_h = tf.concat([first_h[None], h[:-1]], axis=0)
        return (
            _swapped(tf.tensordot(dz, tf.transpose(kernel), axes=1)),
            dh,
            dc,
            tf.tensordot(inputs, dz, axes=[[0, 1], [0, 1]]),
            tf.tensordot(last_h, dz, axes=[[0, 1], [0, 1]]),
            tf.reduce_sum(dz, axis=[0, 1]),
        )

    return _swapped(h), gradient


def _swapped(values: tf.Tensor) -> tf.Tensor:
    """`(batch, steps, dim)` to `(steps, batch, dim)`, and back."""
    return tf.transpose(values, [1, 0, 2])


def _array(steps: tf.Tensor, width: int, dtype: tf.DType) -> tf.TensorArray:
    return tf.TensorArray(dtype, steps, element_shape=(None, width))
