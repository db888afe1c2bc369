"""The seam that every model shares: names, inputs, outputs, save and load."""

import numpy as np
import pytest

from cosernn_tf.config import MODEL_NAMES, ModelConfig
from cosernn_tf.errors import UserError
from cosernn_tf.models import MODELS, create
from cosernn_tf.models.base import ATTENTION, MODEL_FILE, PREDICTION, load_model
from cosernn_tf.schema import EMBEDDING_DIM, MODEL_INPUTS, Per
from tests.cosernn_tf.models.conftest import DATA


def random_inputs(*, batch: int = 2, sessions: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        spec.name: random.integers(
            0, 2, (batch, *(() if spec.per is Per.USER else (sessions,)), *spec.shape)
        ).astype(spec.dtype)
        for spec in MODEL_INPUTS
    }


def test_the_flag_names_every_model():
    assert tuple(MODELS) == MODEL_NAMES


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_takes_the_inputs_of_the_schema_and_survives_its_file(name, tmp_path):
    model = create(ModelConfig(name=name, lstm_units=3, dense_units=4), DATA).build()
    inputs = random_inputs()
    outputs = model(inputs)
    assert outputs[PREDICTION].shape == (2, 5, EMBEDDING_DIM)
    np.testing.assert_allclose(np.linalg.norm(outputs[PREDICTION], axis=-1), 1.0, atol=1e-6)
    model.save(tmp_path / MODEL_FILE)
    again = load_model(tmp_path)(inputs)
    assert set(again) == set(outputs) <= {PREDICTION, ATTENTION}
    for output, values in outputs.items():
        np.testing.assert_array_equal(again[output], values)


def test_loading_what_was_never_trained(tmp_path):
    with pytest.raises(UserError, match=r"has no trained model .* run cosernn_tf\.train"):
        load_model(tmp_path)
