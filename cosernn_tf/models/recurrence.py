"""The loops over steps that recurrent layers share, over the rows of `packing`.

A batch of training is a few windows of hundreds of sessions. The loop of Keras then spends its time
on padding and on reading weights: each step multiplies a few rows by both kernels, and its gradient
adds to both once more. Here a step multiplies the windows that have one by the recurrent kernel
only, and the rest is one matrix product over all rows, forward and backward.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from cosernn_tf.models import packing as packings
from cosernn_tf.models import stepping
from cosernn_tf.models.packing import Packing
from cosernn_tf.models.stepping import Part


class PackedRNN(keras.layers.RNN):
    """What turns a layer of Keras into one with the same weights, results and gradients on rows.

    With a GPU, which has kernels of its own, it is the layer of Keras on padded sequences. It takes
    no mask and returns sequences.

    Input shape: `(batch, sessions, dim)`, and the initial states, `(batch, units)` each. Packed,
    `(rows, 1, dim)`.
    Output shape: `(batch, sessions, units)`; packed, `(rows, 1, units)`.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(units, **{**kwargs, "return_sequences": True})

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        if mask is not None:
            raise ValueError(
                f"{type(self).__name__} takes no mask: pad on the right, and ignore the outputs"
            )
        carried = stepping.current()
        if carried is not None:
            return self._one_step(carried, sequences, initial_state)
        packing = packings.current()
        # A graph that is to run anywhere asks for no cuDNN (`portable`).
        if has_gpu() and getattr(self, "use_cudnn", True):
            if packing is None:
                return super().call(sequences, initial_state=initial_state, training=training)
            padded = packing.padded(sequences[:, 0])
            outputs = super().call(padded, initial_state=initial_state, training=training)
            return packing.rows(outputs)[:, None]
        if packing is not None:
            return self._over_rows(packing, sequences[:, 0], initial_state)[:, None]
        batch, steps = tf.unstack(tf.shape(sequences)[:2])
        rows = tf.reshape(_swapped(sequences), [-1, sequences.shape[2]])
        outputs = self._over_rows(Packing.of_padded(batch, steps), rows, initial_state)
        return _swapped(tf.reshape(outputs, [steps, batch, outputs.shape[1]]))

    def carries(self) -> Mapping[str, Part]:
        """The state of the cell: h and, of an LSTM, c."""
        sizes = self.cell.state_size
        sizes = sizes if isinstance(sizes, list | tuple) else [sizes]
        return {name: Part((size,)) for name, size in zip("hc", sizes, strict=False)}

    def _one_step(
        self, carried: stepping.Carried, sequences: tf.Tensor, first: Sequence[tf.Tensor]
    ) -> tf.Tensor:
        """Of (batch, 1, dim). A single step needs neither a loop nor a gradient of our own."""
        states = [tf.cast(s, self.compute_dtype) for s in carried.take(self, first)]
        output, states = self.cell(sequences[:, 0], states)
        carried.leave(self, states if isinstance(states, list | tuple) else [states])
        return output[:, None]

    def rows(self, packing: Packing, rows: tf.Tensor, *tensors: tf.Tensor) -> tuple[tf.Tensor, Any]:
        """Outputs (N, units) and their gradient, for `tf.custom_gradient`.

        Args:
            packing: Where the rows are.
            rows: (N, dim).
            *tensors: The initial states, the kernel, the recurrent kernel, the bias.
        """
        raise NotImplementedError

    def _over_rows(self, packing: Packing, rows: Any, initial_state: Sequence[Any]) -> tf.Tensor:
        weights = (self.cell.kernel, self.cell.recurrent_kernel, self.cell.bias)
        tensors = (*initial_state, *weights)

        @tf.custom_gradient
        def outputs(*tensors: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return self.rows(packing, *tensors)

        return outputs(rows, *(tf.convert_to_tensor(tensor) for tensor in tensors))


def has_gpu() -> bool:
    return bool(tf.config.list_logical_devices("GPU"))


@contextlib.contextmanager
def portable(model: keras.Model) -> Iterator[None]:
    """Within, graphs of the model have no operation that only a GPU can run."""
    layers = [layer for layer in model.layers if getattr(layer, "use_cudnn", False)]
    before = [layer.use_cudnn for layer in layers]
    for layer in layers:
        layer.use_cudnn = False
    try:
        yield
    finally:
        for layer, use_cudnn in zip(layers, before, strict=True):
            layer.use_cudnn = use_cudnn


Rows = Callable[[tf.Tensor], tf.Tensor]
"""Takes the rows of one step, (windows, dim), of (N, dim)."""


def forward(
    packing: Packing,
    step: Callable[..., tuple[Sequence[tf.Tensor], tf.Tensor]],
    first: Sequence[tf.Tensor],
    width: int,
) -> tf.Tensor:
    """Runs `step` from the first to the last.

    Args:
        packing: Where the rows are.
        step: From `Rows` and the states of its windows to their new states, and to what is kept of
            the step, `(windows, width)`.
        first: Initial states, (W, units) each.
        width: Of what is kept.

    Returns:
        What was kept, (N, width).
    """
    ends = packing.active[:, None]

    def body(number: Any, states: Any, array: Any) -> tuple[Any, ...]:
        end = tf.gather(ends, number)
        states = [tf.strided_slice(state, [0], end) for state in states]
        states, kept = step(_rows(packing, number), *states)
        return number + 1, list(states), array.write(number, kept)

    array = _array(packing, width, first[0].dtype)
    *_, array = tf.while_loop(
        lambda number, *_: number < packing.steps,
        body,
        (0, list(first), array),
        shape_invariants=_invariants(first),
    )
    return array.concat()


def backward(
    packing: Packing,
    step: Callable[..., tuple[Sequence[tf.Tensor], tf.Tensor]],
    last: Sequence[tf.Tensor],
    width: int,
) -> tuple[Sequence[tf.Tensor], tf.Tensor]:
    """Runs `step` from the last to the first.

    Args:
        packing: Where the rows are.
        step: From `Rows` and what flows back to the states after the step to what flows back to
            those before it, and to what is kept, `(windows, width)`.
        last: What flows back to the states after the last step, (0, units) each: no window has it.
        width: Of what is kept.

    Returns:
        What flows back to the initial states, and what was kept, (N, width).
    """
    # Nothing flows back to windows that end at a step.
    ending = packing.active - tf.concat([packing.active[1:], [0]], axis=0)
    paddings = tf.pad(ending[:, None, None], [[0, 0], [0, 1], [1, 0]])

    def body(number: Any, gradients: Any, array: Any) -> tuple[Any, ...]:
        padding = tf.gather(paddings, number)
        gradients = [tf.pad(gradient, padding) for gradient in gradients]
        gradients, kept = step(_rows(packing, number), *gradients)
        return number - 1, list(gradients), array.write(number, kept)

    array = _array(packing, width, last[0].dtype)
    _, gradients, array = tf.while_loop(
        lambda number, *_: number >= 0,
        body,
        (packing.steps - 1, list(last), array),
        shape_invariants=_invariants(last),
    )
    return gradients, array.concat()


def _rows(packing: Packing, number: Any) -> Rows:
    # As few operations as can be: in a small model a step is a matter of microseconds.
    begin, end = tf.gather(packing.begins, number), tf.gather(packing.ends, number)
    return lambda values: tf.strided_slice(values, begin, end)


def _array(packing: Packing, width: int, dtype: tf.DType) -> tf.TensorArray:
    return tf.TensorArray(dtype, packing.steps, element_shape=(None, width), infer_shape=False)


def _invariants(states: Sequence[tf.Tensor]) -> tuple[Any, ...]:
    shapes = [tf.TensorShape([None, state.shape[1]]) for state in states]
    return tf.TensorShape([]), shapes, tf.TensorShape(None)


def _swapped(values: tf.Tensor) -> tf.Tensor:
    """`(batch, steps, dim)` to `(steps, batch, dim)`, and back."""
    return tf.transpose(values, [1, 0, 2])
