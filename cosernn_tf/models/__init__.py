"""The models, by the name that `--model` takes."""

from cosernn_tf.config import ModelConfig
from cosernn_tf.models.base import SequenceModel
from cosernn_tf.models.cosernn import CoSeRNN
from cosernn_tf.models.data_spec import DataSpec
from cosernn_tf.models.encore import Encore
from cosernn_tf.models.jodie import JODIE
from cosernn_tf.models.latent_cross import LatentCross
from cosernn_tf.models.rrn import RRN

MODELS: dict[str, type[SequenceModel]] = {
    model.name: model for model in (CoSeRNN, JODIE, RRN, LatentCross, Encore)
}
"""One for each of `config.MODEL_NAMES`."""


def create(config: ModelConfig, data: DataSpec) -> SequenceModel:
    return MODELS[config.name](config, data)
