"""One gradient step over a batch that comes in parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.models.base import ATTENTION, PREDICTION, cosine_loss_sum, inputs_of
from cosernn_tf.models.packing import Packing, packed
from cosernn_tf.prediction import input_signature
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.windows import PackedBatch


@dataclass(frozen=True)
class StepResult:
    """Sums over the (user, session) pairs of a batch."""

    loss: float
    attention: float
    """β̂; 0 of a model that has no attention."""
    pairs: int
    gradient_norms: tf.Tensor | None = None
    """(variables,) of the gradient of the mean, before it is clipped; None if there is none.
    No step was taken if they are not finite."""


class TrainStep:
    """Accumulates the gradient of the mean loss over parts, then applies it.

    The result is that of the whole batch padded to its longest window, without the padding.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, *, clip_norm: float
    ) -> None:
        self._model = model
        self._inputs = inputs_of(model)
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._variables = model.trainable_variables
        self._gradients = [
            tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in self._variables
        ]
        optimizer.build(self._variables)
        pairs = tf.TensorSpec((None, None), tf.float32)
        targets = tf.TensorSpec((None, None, EMBEDDING_DIM), tf.float32)
        self._accumulate = tf.function(
            self._accumulate_eagerly,
            input_signature=[
                input_signature(model),
                targets,
                pairs,
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((), tf.float32),
            ],
        )
        self._norms = tf.function(self._norms_eagerly, input_signature=[])
        self._apply = tf.function(self._apply_eagerly, input_signature=[])

    def __call__(self, parts: Sequence[PackedBatch]) -> StepResult:
        """Takes one step.

        A batch without a pair takes none, nor does one whose loss or gradient is not finite: no
        step may follow on that.
        """
        pairs = int(sum(np.count_nonzero(part.weight) for part in parts))
        loss = attention = 0.0
        for part in parts:
            inputs = {name: part.inputs[name] for name in self._inputs}
            sums = self._accumulate(
                inputs, part.target, part.weight, part.active, np.float32(max(pairs, 1))
            )
            loss += float(sums[0])
            attention += float(sums[1])
        # Without a pair there is no gradient, and Adam would still move on its momentum.
        norms = self._take_step() if pairs and np.isfinite(loss) else None
        return StepResult(loss, attention, pairs, norms)

    def _take_step(self) -> tf.Tensor | None:
        """Along a gradient that is finite; gives its norms."""
        norms = self._norms()
        is_finite = np.isfinite(norms).all()
        # An optimizer that scales the loss leaves others out itself, and scales less from then on.
        expects_others = isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer)
        if is_finite or expects_others:
            self._apply()
        return norms if is_finite or not expects_others else None

    @property
    def traces(self) -> int:
        """How often the model was traced; more than once means that time is lost."""
        return int(self._accumulate.experimental_get_tracing_count())

    def _accumulate_eagerly(
        self,
        inputs: dict[str, tf.Tensor],
        target: tf.Tensor,
        weight: tf.Tensor,
        active: tf.Tensor,
        pairs: tf.Tensor,
    ) -> tuple[Any, Any]:
        with tf.GradientTape() as tape, packed(Packing.of(active)):
            outputs = self._model(inputs, training=True)
            loss = cosine_loss_sum(outputs[PREDICTION], target, weight)
            # The mean first: a sum, scaled, is beyond what float16 has.
            scaled = self._optimizer.scale_loss(loss / pairs)
        gradients = tape.gradient(scaled, [variable.value for variable in self._variables])
        for total, gradient in zip(self._gradients, gradients, strict=True):
            total.assign_add(tf.convert_to_tensor(gradient))
        attention = tf.zeros(())
        if ATTENTION in outputs:
            attention = tf.reduce_sum(weight * outputs[ATTENTION][..., 0])
        return loss, attention

    def _norms_eagerly(self) -> tf.Tensor:
        norms = tf.stack([tf.norm(total) for total in self._gradients])
        return norms / self._optimizer.scale_loss(1.0)

    def _apply_eagerly(self) -> None:
        gradients = [tf.convert_to_tensor(total) for total in self._gradients]
        if self._clip_norm:
            clip_norm = self._optimizer.scale_loss(self._clip_norm)
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        self._optimizer.apply(gradients, self._variables)
        for total in self._gradients:
            total.assign(tf.zeros_like(total))
