"""The models, by the name that `--model` takes."""

from cosernn_tf.config import ModelConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models.base import DataSpec, SequenceModel
from cosernn_tf.models.cosernn import CoSeRNN

MODELS: dict[str, type[SequenceModel]] = {model.name: model for model in (CoSeRNN,)}


def create(config: ModelConfig, data: DataSpec) -> SequenceModel:
    """Raises `UserError` for a name that no model has."""
    if config.name not in MODELS:
        raise UserError(f"--model={config.name} is unknown: choose from {', '.join(MODELS)}")
    return MODELS[config.name](config, data)
