"""What models cost, from their run directories."""

import json

import keras
import pytest

from cosernn_tf.workspace import Workspace
from experiments.reporting.costs import costs_of, count_parameters
from tests.experiments.reporting.full_workspace import EPOCHS, write_run


def test_parameters_are_those_that_keras_counts(tmp_path):
    inputs = keras.Input((None, 3))
    hidden = keras.layers.BatchNormalization()(keras.layers.LSTM(5, return_sequences=True)(inputs))
    model = keras.Model(inputs, [keras.layers.Dense(4)(hidden), keras.layers.Dense(2)(hidden)])
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)  # has as many numbers again, twice
    model.save(tmp_path / "model.keras")
    assert count_parameters(tmp_path / "model.keras") == model.count_params() > 0
    assert count_parameters(tmp_path / "none.keras") is None


def test_costs_are_means_over_seeds(tmp_path):
    workspace = Workspace(tmp_path)
    for seed in (1, 2):
        write_run(workspace.run(f"a-seed{seed}"), seed=seed)
    path = workspace.run("a-seed2") / "history.json"
    history = json.loads(path.read_text())
    path.write_text(json.dumps([{**epoch, "seconds": 90.0} for epoch in history[:-2]]))
    (workspace.run("a-seed2") / "index").mkdir()
    (workspace.run("a-seed2") / "index" / "index.json").write_text('{"latency_median_ms": 0.5}')
    costs = costs_of(workspace, {"a": ("a-seed1", "a-seed2"), "given": ("given",)})
    assert list(costs) == ["a"]
    cost = costs["a"]
    assert cost.minutes == pytest.approx((EPOCHS * 30 + (EPOCHS - 2) * 90) / 2 / 60)
    assert cost.epochs == EPOCHS - 1
    # The median epochs of 1,000 to 6,000 and of 1,000 to 4,000 sessions a second.
    assert cost.sessions_per_second == pytest.approx((3_500 + 2_500) / 2)
    assert cost.latency_ms == 0.5
    assert cost.parameters is None
    assert cost.machines == ("A chip <b>, 2 cores",)
    assert cost.load == 0.25
    assert [run.best["epoch"] for run in cost.runs] == [4, 4]


def test_a_run_that_was_trained_anew_since_is_not_the_one_that_was_evaluated(tmp_path):
    workspace = Workspace(tmp_path)
    write_run(workspace.run("a"), seed=1)
    stored = json.loads((workspace.run("a") / "config.json").read_text())
    config, checksum = stored["config"], stored["embeddings_sha256"]
    for flags, embeddings, is_known in (
        (config, checksum, True),
        # Of before a flag existed, and of after.
        ({**config, "later": 1}, checksum, True),
        ({"seed": 1}, checksum, True),
        ({**config, "seed": 2}, checksum, False),
        (config, "ef" * 32, False),
    ):
        evaluated = {"runs": {"a": flags}, "embeddings_sha256": embeddings}
        assert bool(costs_of(workspace, {"a": ("a",)}, evaluated=evaluated)) == is_known
    others = {"runs": {"b": {"seed": 2}}, "embeddings_sha256": "ef" * 32}
    assert costs_of(workspace, {"a": ("a",)}, evaluated=others)


def test_runs_of_older_versions_have_no_provenance(tmp_path):
    workspace = Workspace(tmp_path)
    write_run(workspace.run("old"), seed=1)
    (workspace.run("old") / "provenance.json").unlink()
    cost = costs_of(workspace, {"old": ("old",)})["old"]
    assert cost.machines == ()
    assert cost.load is None
