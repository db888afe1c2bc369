"""The seam between models and everything else: inputs, outputs, loss, save and load.

A model subclasses `SequenceModel` and adds its graph; training, evaluation, serving and the rest
only see a `keras.Model` from some of `schema.MODEL_INPUTS` to the outputs named here.
"""

import abc
from pathlib import Path
from typing import Any, ClassVar, Final

import keras
from keras import ops

from cosernn_tf.config import ModelConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models.data_spec import DataSpec
from cosernn_tf.models.encodings import Encodings
from cosernn_tf.runs import MODEL_FILE as MODEL_FILE
from cosernn_tf.schema import MODEL_INPUTS, Per

PREDICTION: Final = "prediction"
"""Output: u, the user embedding, `(batch, sessions, dim)`, unit norm."""
ATTENTION: Final = "attention"
"""Output, of models that have one: [β̂, β̄], `(batch, sessions, 2)`."""


class SequenceModel(abc.ABC):
    """Builds the Keras functional model of one architecture.

    Recurrent layers take no mask: padding is on the right, so it cannot reach a real step, its
    outputs have no weight in the loss, and a mask would cost the fused kernels.
    """

    name: ClassVar[str]

    def __init__(self, config: ModelConfig, data: DataSpec) -> None:
        self.config = config
        self.data = data

    @abc.abstractmethod
    def graph(self, encodings: Encodings) -> dict[str, keras.KerasTensor]:
        """From the inputs and their encodings to `PREDICTION` (and `ATTENTION`)."""

    def build(self) -> keras.Model:
        inputs = {
            spec.name: keras.Input(
                shape=spec.shape if spec.per is Per.USER else (None, *spec.shape),
                dtype=spec.dtype,
                name=spec.name,
            )
            for spec in MODEL_INPUTS
            if spec.name in self.config.inputs
        }
        outputs = self.graph(Encodings(inputs, self.config, self.data))
        return keras.Model(inputs, outputs, name=self.name)


def inputs_of(model: keras.Model) -> tuple[str, ...]:
    """Names of the `schema.MODEL_INPUTS` that a built model takes, in that order."""
    return tuple(spec.name for spec in MODEL_INPUTS if spec.name in model.input)


def cosine_loss_sum(prediction: Any, target: Any, weight: Any) -> Any:
    """Σ (1 - uᵀs⁺) over the pairs of a batch (§5.2.1); the mean divides by the sum of `weight`.

    Args:
        prediction: u, `(batch, sessions, dim)`, unit norm.
        target: s⁺, `(batch, sessions, dim)`, unit norm.
        weight: `(batch, sessions)`, 1 for a pair, 0 elsewhere.
    """
    return ops.sum(weight * (1.0 - ops.sum(prediction * target, axis=-1)))


def load_model(run: Path) -> keras.Model:
    """The best model of a run directory.

    Raises:
        UserError: There is no trained model.
    """
    path = run / MODEL_FILE
    if not path.is_file():
        raise UserError(
            f"run {run.name!r} has no trained model ({path} does not exist): "
            f"run cosernn_tf.train with --run={run.name}"
        )
    return keras.saving.load_model(path, compile=False)
