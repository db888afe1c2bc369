"""The seam that every model shares: names, inputs, outputs, save and load."""

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

from cosernn_tf.config import ARCHITECTURES, MODEL_NAMES
from cosernn_tf.errors import UserError
from cosernn_tf.models import MODELS
from cosernn_tf.models.base import ATTENTION, MODEL_FILE, PREDICTION, inputs_of, load_model
from cosernn_tf.schema import EMBEDDING_DIM, FEATURES, MODEL_INPUTS
from cosernn_tf.training.run import export
from cosernn_tf.windows import make_batch
from tests.cosernn_tf.models.conftest import CASES, build, call, small, whole_users


def test_the_flag_names_every_model():
    assert tuple(MODELS) == MODEL_NAMES


def test_every_input_is_taken_by_a_model_or_a_feature():
    own = {name for architecture in ARCHITECTURES for name in architecture.inputs}
    assert {spec.name for spec in MODEL_INPUTS if spec.feature is None} == own
    assert {spec.feature for spec in MODEL_INPUTS if spec.feature} == set(FEATURES)


def test_a_model_takes_the_inputs_of_its_configuration(config):
    assert inputs_of(build(config)) == config.inputs


@pytest.mark.parametrize(
    ("case", "inputs"),
    [
        (
            "cosernn",
            "age_bucket day_of_week hour device last_played last_skipped last_num_tracks "
            "last_stream_source seconds_since_last long_term",
        ),
        ("cosernn of all", "age_bucket day_of_week hour device last_all last_num_tracks "
         "last_stream_source seconds_since_last long_term"),
        ("cosernn up to last_session", "age_bucket last_played last_skipped long_term"),
        ("cosernn of context", "age_bucket day_of_week hour device long_term"),
        ("jodie of gap", "age_bucket user_id seconds_since_last"),
        ("latent_cross of played", "age_bucket day_of_week hour device last_played "
         "last_num_tracks last_stream_source seconds_since_last"),
    ],
)  # fmt: skip
def test_the_inputs_of_some_configurations(case, inputs):
    assert CASES[case].inputs == tuple(inputs.split())


def test_predictions_have_unit_norm(config, table, data):
    outputs = call(build(config), make_batch(data, whole_users(table)))
    assert outputs[PREDICTION].shape[2] == EMBEDDING_DIM
    np.testing.assert_allclose(np.linalg.norm(outputs[PREDICTION], axis=-1), 1.0, atol=1e-6)
    assert set(outputs) <= {PREDICTION, ATTENTION}


SAVED = {name: small(name, features=FEATURES) for name in ("jodie", "rrn", "latent_cross")}
EXPORTED = ("jodie",)
"""CoSeRNN's are in training/test_run.py."""


def test_models_are_equal_in_a_fresh_process(table, data, tmp_path):
    """Their files, and their exports without any of our code; users are known by their ids."""
    batch = make_batch(data, whole_users(table))
    for name, config in SAVED.items():
        folder = tmp_path / name
        folder.mkdir()
        model = build(config)
        model.save(folder / MODEL_FILE)
        if name in EXPORTED:
            export(model, folder / "export")
        # Strings of one width are read without pickling.
        inputs: dict[str, Any] = {name: batch.inputs[name] for name in config.inputs}
        if "user_id" in inputs:
            inputs["user_id"] = inputs["user_id"].astype("S")
        np.savez(folder / "inputs.npz", **inputs)
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import numpy as np
        import tensorflow as tf

        folders = [Path(name) for name in sys.argv[1:]]
        inputs = {folder: dict(np.load(folder / "inputs.npz")) for folder in folders}
        for folder in filter(lambda folder: (folder / "export").is_dir(), folders):
            serve = tf.saved_model.load(str(folder / "export")).signatures["serving_default"]
            served = serve(**{name: tf.constant(v) for name, v in inputs[folder].items()})
            np.savez(folder / "served.npz", **served)
        assert not any(name.startswith("cosernn_tf") for name in sys.modules)

        from cosernn_tf.models.base import load_model
        for folder in folders:
            loaded = load_model(folder)
            tensors = {name: tf.constant(v) for name, v in inputs[folder].items()}
            np.savez(folder / "loaded.npz", **loaded(tensors))
        """
    )
    folders = [tmp_path / name for name in SAVED]
    subprocess.run([sys.executable, "-c", script, *folders], check=True, timeout=300)
    for name, config in SAVED.items():
        expected = call(build(config), batch)
        for file in ["loaded.npz", *["served.npz"] * (name in EXPORTED)]:
            outputs = np.load(tmp_path / name / file)
            assert set(outputs) == set(expected)
            for output, values in expected.items():
                np.testing.assert_allclose(outputs[output], values, atol=1e-6, err_msg=name)


def test_loading_what_was_never_trained(tmp_path):
    with pytest.raises(UserError, match=r"has no trained model .* run cosernn_tf\.train"):
        load_model(tmp_path)
