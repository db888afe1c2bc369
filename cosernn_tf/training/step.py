"""One gradient step over a batch that comes in parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf

from cosernn_tf.models.base import ATTENTION, PREDICTION, inputs_of
from cosernn_tf.models.losses import CosineLoss, Loss
from cosernn_tf.models.packing import Packing, packed
from cosernn_tf.prediction import input_signature
from cosernn_tf.schema import EMBEDDING_DIM, MAX_TRACKS_PER_SESSION
from cosernn_tf.training.devices import Devices, one_device
from cosernn_tf.windows import Labels, PackedBatch

_COSINE_LOSS: Final = CosineLoss()


@dataclass(frozen=True)
class StepResult:
    """Sums over the (user, session) pairs of a batch."""

    loss: float
    cosine: float
    """Of prediction and s⁺, whatever the loss."""
    attention: float
    """β̂; 0 of a model that has no attention."""
    pairs: int
    gradient_norms: tf.Tensor | None = None
    """(variables,) of the gradient of the mean, before it is clipped; None if there is none.
    No step was taken if they are not finite."""


class TrainStep:
    """Accumulates the gradient of the mean loss over parts, then applies it.

    The result is that of the whole batch padded to its longest window, without the padding. Each
    replica has parts of its own; what is applied is the sum over all of them.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        *,
        clip_norm: float,
        loss: Loss = _COSINE_LOSS,
        devices: Devices | None = None,
    ) -> None:
        """Builds the optimizer, in the scope of the strategy as model and optimizer were.

        Args:
            model: Is trained.
            optimizer: Of the weights.
            clip_norm: Global norm to which gradients are clipped; 0 clips nothing.
            loss: Whose mean over pairs it is.
            devices: Where; by default one.
        """
        self._devices = devices or one_device()
        self._model = model
        self._loss = loss
        self._inputs = inputs_of(model)
        self._optimizer = optimizer
        self._clip_norm = clip_norm
        self._variables = model.trainable_variables
        with self._devices.strategy.scope():
            self._gradients = [_accumulator(variable.shape) for variable in self._variables]
            optimizer.build(self._variables)
        labels = Labels(
            target=tf.TensorSpec((None, 1, EMBEDDING_DIM), tf.float32),
            weight=tf.TensorSpec((None, 1), tf.float32),
            **{
                name: tf.TensorSpec((None, 1, MAX_TRACKS_PER_SESSION), tf.int32)
                for name in ("track", "since", "until")
            },
        )
        part = (input_signature(model), labels, tf.TensorSpec((None,), tf.int32))
        number = tf.TensorSpec((), tf.float32)
        self._accumulate = tf.function(
            self._accumulate_on_replicas,
            input_signature=[[part] * self._devices.share.count, number],
        )
        self._sum = tf.function(self._sum_on_replicas, input_signature=[number])
        self._apply = tf.function(self._apply_on_replicas, input_signature=[])

    def __call__(self, parts: Sequence[PackedBatch]) -> StepResult:
        """Takes one step; `parts` has one for each replica of this process, in turn.

        A batch without a pair takes none, nor does one whose loss or gradient is not finite: no
        step may follow on that.
        """
        own_pairs = int(sum(np.count_nonzero(part.weight) for part in parts))
        repeats = self._loss.looks_at_repeats
        arguments = [
            (
                {name: part.inputs[name] for name in self._inputs},
                part.labels(repeats=repeats),
                part.active,
            )
            for part in parts
        ]
        sums = np.zeros(3)
        count = self._devices.share.count
        for turn in range(0, len(parts), count):
            sums += self._accumulate(arguments[turn : turn + count], np.float32(max(own_pairs, 1)))
        found = self._devices.sum_of_workers([*sums, own_pairs]).tolist()
        loss, cosine, attention, pairs = found
        # Without a pair there is no gradient, and Adam would still move on its momentum.
        norms = self._take_step(own_pairs / pairs) if pairs and np.isfinite(loss) else None
        return StepResult(loss, cosine, attention, int(pairs), norms)

    def _take_step(self, share: float) -> tf.Tensor | None:
        """Along a gradient that is finite; gives its norms.

        Args:
            share: Of this process in the pairs of the batch.
        """
        norms = self._sum(np.float32(share))
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

    def _accumulate_on_replicas(
        self, parts: Sequence[tuple[Any, ...]], pairs: tf.Tensor
    ) -> tf.Tensor:
        return tf.add_n(
            self._devices.on_each_replica(lambda k: self._accumulate_part(*parts[k], pairs=pairs))
        )

    def _accumulate_part(
        self,
        inputs: dict[str, tf.Tensor],
        labels: Labels,
        active: tf.Tensor,
        *,
        pairs: tf.Tensor,
    ) -> tf.Tensor:
        """(3,): sums of losses, cosines and attention; the gradient is of the mean over `pairs`."""
        with tf.GradientTape() as tape, packed(Packing.of(active)):
            outputs = self._model(inputs, training=True)
            loss = self._loss(outputs[PREDICTION], labels)
            # The mean first: a sum, scaled, is beyond what float16 has.
            scaled = self._optimizer.scale_loss(loss / pairs)
        gradients = tape.gradient(scaled, [variable.value for variable in self._variables])
        for total, gradient in zip(self._gradients, gradients, strict=True):
            total.assign_add(tf.convert_to_tensor(gradient))
        cosines = tf.reduce_sum(outputs[PREDICTION] * labels.target, axis=-1)
        cosine = tf.reduce_sum(labels.weight * cosines)
        attention = tf.zeros(())
        if ATTENTION in outputs:
            attention = tf.reduce_sum(labels.weight * outputs[ATTENTION][..., 0])
        return tf.stack([loss, cosine, attention])

    def _sum_on_replicas(self, share: tf.Tensor) -> tf.Tensor:
        return self._devices.on_each_replica(lambda _: self._sum_gradients(share))[0]

    def _sum_gradients(self, share: tf.Tensor) -> tf.Tensor:
        """Gives each replica the gradient of the whole batch; its norms, (variables,)."""
        sums = self._devices.sum_of_replicas([total * share for total in self._gradients])
        for total, value in zip(self._gradients, sums, strict=True):
            total.assign(value)
        return tf.stack([tf.norm(value) for value in sums]) / self._optimizer.scale_loss(1.0)

    def _apply_on_replicas(self) -> None:
        self._devices.on_each_replica(lambda _: self._apply_gradients())

    def _apply_gradients(self) -> None:
        gradients = [tf.convert_to_tensor(total) for total in self._gradients]
        if self._clip_norm:
            clip_norm = self._optimizer.scale_loss(self._clip_norm)
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        # Keras sums what it applies over the replicas, which have the same by now.
        replicas = self._devices.share.of
        self._optimizer.apply([gradient / replicas for gradient in gradients], self._variables)
        for total in self._gradients:
            total.assign(tf.zeros_like(total))


def _accumulator(shape: Sequence[int]) -> tf.Variable:
    """Zeros, others on each replica."""
    return tf.Variable(
        tf.zeros(shape),
        trainable=False,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.SUM,
    )
