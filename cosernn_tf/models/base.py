"""The seam between models and everything else: inputs, outputs, loss, save and load.

A model subclasses `SequenceModel` and adds its graph; training, evaluation, serving and the rest
only see a `keras.Model` from the inputs of `schema.MODEL_INPUTS` to the outputs named here.
"""

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import keras
from keras import ops

from cosernn_tf.config import ModelConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models import layers
from cosernn_tf.schema import DAYS_OF_WEEK, DEVICES, HOURS, MODEL_INPUTS, Per

PREDICTION: Final = "prediction"
"""Output: u, the user embedding, `(batch, sessions, dim)`, unit norm."""
ATTENTION: Final = "attention"
"""Output, of models that have one: [β̂, β̄], `(batch, sessions, 2)`."""

MODEL_FILE: Final = "model.keras"


@dataclass(frozen=True)
class LogStatistics:
    """Mean and standard deviation of log1p of a feature over the training split."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of the data: vocabulary sizes and training-split statistics."""

    num_stream_sources: int
    last_num_tracks: LogStatistics
    seconds_since_last: LogStatistics


class SequenceModel(abc.ABC):
    """Builds the Keras functional model of one architecture."""

    name: ClassVar[str]

    def __init__(self, config: ModelConfig, data: DataSpec) -> None:
        self.config = config
        self.data = data

    @abc.abstractmethod
    def graph(self, inputs: dict[str, keras.KerasTensor]) -> dict[str, keras.KerasTensor]:
        """From the inputs of `schema.MODEL_INPUTS` to `PREDICTION` (and `ATTENTION`)."""

    def build(self) -> keras.Model:
        inputs = {
            model_input.name: keras.Input(
                shape=model_input.shape
                if model_input.per is Per.USER
                else (None, *model_input.shape),
                dtype=model_input.dtype,
                name=model_input.name,
            )
            for model_input in MODEL_INPUTS
        }
        return keras.Model(inputs, self.graph(inputs), name=self.name)

    # Encodings of the inputs that models share -------------------------------------------------

    def context(self, inputs: dict[str, keras.KerasTensor]) -> keras.KerasTensor:
        """c_t: day of week, hour and device of the current session, one-hot (§5.1.2)."""
        return keras.layers.Concatenate(name="context")(
            [
                layers.OneHot(size, name=f"{name}_one_hot")(inputs[name])
                for name, size in (
                    ("day_of_week", len(DAYS_OF_WEEK)),
                    ("hour", HOURS),
                    ("device", len(DEVICES)),
                )
            ]
        )

    def last_session_summary(self, inputs: dict[str, keras.KerasTensor]) -> keras.KerasTensor:
        """[N_{t-1}, z_{t-1}, Δ_t] (§5.1.2)."""
        return keras.layers.Concatenate(name="last_session_summary")(
            [
                self._standardized(inputs, "last_num_tracks", self.data.last_num_tracks),
                layers.OneHot(self.data.num_stream_sources, name="last_stream_source_one_hot")(
                    inputs["last_stream_source"]
                ),
                self._standardized(inputs, "seconds_since_last", self.data.seconds_since_last),
            ]
        )

    @staticmethod
    def _standardized(
        inputs: dict[str, keras.KerasTensor], name: str, statistics: LogStatistics
    ) -> keras.KerasTensor:
        layer = layers.LogStandardize(
            statistics.mean, statistics.deviation, name=f"{name}_standardized"
        )
        return layer(inputs[name])


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
