"""The models, by the name that `--model` takes."""

from cosernn_tf.config import ModelConfig
from cosernn_tf.models.base import DataSpec, SequenceModel
from cosernn_tf.models.cosernn import CoSeRNN

MODELS: dict[str, type[SequenceModel]] = {model.name: model for model in (CoSeRNN,)}
"""One for each of `config.MODEL_NAMES`."""


def create(config: ModelConfig, data: DataSpec) -> SequenceModel:
    return MODELS[config.name](config, data)
