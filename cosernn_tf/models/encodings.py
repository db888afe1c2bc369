"""The features f_t of §5.1.2, encoded: what every model's graph starts from."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Final

import keras

from cosernn_tf.config import ModelConfig
from cosernn_tf.models import layers
from cosernn_tf.models.data_spec import DataSpec, LogStatistics
from cosernn_tf.schema import DAYS_OF_WEEK, DEVICES, EMBEDDING_DIM, HOURS, NUM_AGE_BUCKETS

_PREFIXES: Final = {"skipped": "skip", "played": "play", "all": "all"}
"""How the layers of a pathway are called, in the order of §5.1.3: o_t⁻ comes first."""


class Encodings:
    """Tensors of the features that a configuration takes in; each is made when first asked for.

    All are `(batch, sessions, size)` unless told.
    """

    def __init__(
        self, inputs: dict[str, keras.KerasTensor], config: ModelConfig, data: DataSpec
    ) -> None:
        self.inputs = inputs
        self._config = config
        self._data = data
        self._inputs_of_pathways = {
            prefix: f"last_{pathway}"
            for pathway, prefix in _PREFIXES.items()
            if pathway in config.pathways
        }

    @cached_property
    def features(self) -> dict[str, keras.KerasTensor]:
        """f_t of each pathway: c_t ⊕ s_{t-1} ⊕ [N_{t-1} z_{t-1} Δ_t], of the chosen features."""
        return {
            pathway: concatenated(
                f"{pathway}_features",
                [
                    *self.of_now,
                    *([self.last[pathway]] if self.last else []),
                    *self._summary,
                ],
            )
            for pathway in self._inputs_of_pathways
        }

    @property
    def of_now(self) -> list[keras.KerasTensor]:
        """c_t, if it is among the chosen features."""
        return [self.context] if "context" in self._config.features else []

    @property
    def of_last(self) -> list[keras.KerasTensor]:
        """s_{t-1} of every pathway and [N_{t-1} z_{t-1} Δ_t], of the chosen features."""
        return [*self.last.values(), *self._summary]

    @property
    def last_vectors(self) -> list[keras.KerasTensor]:
        """s_{t-1} of every pathway as it is, unit norm.

        What says most of the next s⁺ comes first: s⁺, s, s⁻.
        """
        return [
            self.inputs[f"last_{pathway}"]
            for pathway in ("played", "all", "skipped")
            if pathway in self._config.pathways
        ]

    @cached_property
    def context(self) -> keras.KerasTensor:
        """c_t: day of week, hour and device of the current session, one-hot."""
        return concatenated(
            "context",
            [
                self._one_hot("day_of_week", len(DAYS_OF_WEEK)),
                self._one_hot("hour", HOURS),
                self._one_hot("device", len(DEVICES)),
            ],
        )

    @cached_property
    def last(self) -> dict[str, keras.KerasTensor]:
        """s_{t-1} of each pathway, `scaled`; empty without the feature."""
        if "last_session" not in self._config.features:
            return {}
        return {
            pathway: scaled(pathway, self.inputs[name])
            for pathway, name in self._inputs_of_pathways.items()
        }

    @cached_property
    def gap(self) -> keras.KerasTensor:
        """Δ_t, log-standardised."""
        return self._standardized("seconds_since_last", self._data.seconds_since_last)

    def initial_state(self, pathway: str, *names: str) -> list[keras.KerasTensor]:
        """The first states of an RNN, learned per age bucket: `(batch, lstm_units)` each.

        Footnote 5 has them for CoSeRNN (decision 6); other models are to know as much of the user.
        """
        return [
            keras.layers.Embedding(
                NUM_AGE_BUCKETS, self._config.lstm_units, name=f"{pathway}_initial_{name}"
            )(self.inputs["age_bucket"])
            for name in names
        ]

    def user_embedding(self) -> keras.KerasTensor:
        """A static embedding of the user, `(batch, 1, dim)`, to be broadcast over sessions."""
        layer = layers.UserEmbedding(self._data.users, EMBEDDING_DIM, name="user")
        return layer(self.inputs["user_id"])

    @cached_property
    def _summary(self) -> list[keras.KerasTensor]:
        """[N_{t-1} z_{t-1} Δ_t], and z_t, of the chosen features: a list of one tensor, or none."""
        sources = self._data.num_stream_sources
        encoded: dict[str, Callable[[], keras.KerasTensor]] = {
            "num_tracks": lambda: self._standardized("last_num_tracks", self._data.last_num_tracks),
            "stream_source": lambda: self._one_hot("last_stream_source", sources),
            "gap": lambda: self.gap,
            "current_stream_source": lambda: self._one_hot("current_stream_source", sources),
        }
        parts = [
            encode() for feature, encode in encoded.items() if feature in self._config.features
        ]
        return [concatenated("last_session_summary", parts)] if parts else []

    def _one_hot(self, name: str, size: int) -> keras.KerasTensor:
        return layers.OneHot(size, name=f"{name}_one_hot")(self.inputs[name])

    def _standardized(self, name: str, statistics: LogStatistics) -> keras.KerasTensor:
        layer = layers.LogStandardize(
            statistics.mean, statistics.deviation, name=f"{name}_standardized"
        )
        return layer(self.inputs[name])


def scaled(name: str, vectors: keras.KerasTensor) -> keras.KerasTensor:
    """Vectors of unit norm, whose coordinates are 1/√40, as ones of unit variance.

    Like the other features then, they are learnt as fast as these (README, "Differences from the
    paper").
    """
    return keras.layers.Rescaling(math.sqrt(EMBEDDING_DIM), name=f"{name}_scaled")(vectors)


def concatenated(name: str, tensors: list[keras.KerasTensor]) -> keras.KerasTensor:
    """The tensors side by side; one alone is itself."""
    return tensors[0] if len(tensors) == 1 else keras.layers.Concatenate(name=name)(tensors)
