"""What TensorBoard shows of a run, read back from its event files, against oracles."""

import dataclasses

import keras
import numpy as np
import pyarrow.compute as pc
import pytest
import tensorflow as tf

from cosernn_tf.evaluation.scores import score_sessions
from cosernn_tf.features import embed_sessions
from cosernn_tf.models.base import PREDICTION, inputs_of
from cosernn_tf.models.packing import Packing, packed
from cosernn_tf.prediction import Predictor
from cosernn_tf.training.checkpoints import Checkpoints
from cosernn_tf.training.step import TrainStep
from cosernn_tf.training.summaries import STEPS_APART
from cosernn_tf.training.validation import validate
from tests.cosernn_tf.summaries.events import read
from tests.cosernn_tf.training.conftest import CONFIG, make_trainer, new_model

NOT_REPEATABLE = ("speed/sessions_per_second", "speed/seconds")


def events_of(run):
    """By directory, tag and step."""
    folders = ("run", "steps", "train", "validation")
    return {name: read(run / "tensorboard" / name) for name in folders}


@pytest.fixture(scope="module")
def events(trained):
    return events_of(trained[0])


@pytest.fixture(scope="module")
def best(trained):
    """The epoch whose weights the model has."""
    _, _, history = trained
    return max(history, key=lambda epoch: epoch.validation_cosine)


@pytest.fixture(scope="module")
def predicted(trained, feed):
    """The block of all users, and what the model predicts of its validation sessions."""
    (block,) = feed.blocks()
    windows = feed.validation_windows(block, max_sessions=CONFIG.max_sessions)
    return block, Predictor(trained[1])(block.data, windows)


def test_every_epoch_is_shown(trained, events):
    _, _, history = trained
    for folder, tag, value in (
        ("train", "fit/loss", lambda epoch: epoch.train_loss),
        ("train", "fit/cosine", lambda epoch: epoch.train_cosine),
        ("train", "fit/attention_offset", lambda epoch: epoch.train_attention),
        ("train", "speed/sessions_per_second", lambda epoch: epoch.sessions_per_second),
        ("train", "speed/seconds", lambda epoch: epoch.seconds),
        ("validation", "fit/cosine", lambda epoch: epoch.validation_cosine),
        ("validation", "fit/attention_offset", lambda epoch: epoch.validation_attention),
        ("validation", "ranking/MRR@20", lambda epoch: epoch.validation_ranking["session_rr_20"]),
        ("validation", "ranking/mAP@25", lambda epoch: epoch.validation_ranking["ap_25"]),
    ):
        found = {step: float(shown) for step, shown in events[folder][tag].items()}
        assert found == pytest.approx({epoch.epoch: value(epoch) for epoch in history}), tag


def test_the_histogram_of_attention_has_every_validation_session(trained, feed, predicted, events):
    _, model, history = trained
    block, predictions = predicted
    offset = predictions.attention[block.data.is_target[predictions.sessions], 0]
    validation = validate(Predictor(model), feed, max_sessions=CONFIG.max_sessions)
    best = max(history, key=lambda epoch: epoch.validation_cosine)
    shown = events["validation"]["fit/attention"]
    assert set(shown) == {epoch.epoch for epoch in history}
    left, right, counts = shown[best.epoch].T
    assert (left[0], right[-1]) == (0.0, 1.0)
    expected = [
        sum(low <= beta < high or beta == high == 1.0 for beta in offset.tolist())
        for low, high in zip(left, right, strict=True)
    ]
    np.testing.assert_array_equal(counts, expected)
    assert np.count_nonzero(expected) > 2
    assert counts.sum() == validation.sessions == len(offset)
    mean = np.sum(counts * (left + right) / 2) / counts.sum()
    assert mean == pytest.approx(best.validation_attention, abs=0.5 / len(counts))


def test_rankings_are_those_of_an_evaluation(feed, predicted, best, events):
    """Of all validation sessions, which are fewer than the sample may have."""
    block, predictions = predicted
    vectors = np.zeros_like(block.data.target)
    vectors[predictions.sessions] = predictions.embeddings
    in_split = np.zeros(block.table.num_sessions, bool)
    in_split[predictions.sessions] = True
    scores = score_sessions(
        block.table,
        embed_sessions(block.table, feed.track_embeddings),
        feed.track_embeddings,
        sessions_mask=in_split,
        predictions={"model": vectors},
        training_end=0,
    )
    shown = {
        tag: float(values[best.epoch])
        for tag, values in events["validation"].items()
        if tag.startswith("ranking/")
    }
    columns = {
        "ranking/MRR@20": "session_rr_20",
        "ranking/MRR@50": "session_rr_50",
        "ranking/mAP@25": "ap_25",
        "ranking/mAP@100": "ap_100",
    }
    expected = {tag: pc.mean(scores[name]).as_py() for tag, name in columns.items()}
    assert shown == pytest.approx({tag: v for tag, v in expected.items() if v is not None})
    curve = events["validation"]["track_ranking/25"][best.epoch]
    sessions = pc.count(scores["ap_25"]).as_py()
    assert sessions > 10
    assert curve.shape == (6, 26)
    np.testing.assert_array_equal(curve[:4].sum(axis=0), 25 * sessions)
    np.testing.assert_array_equal(curve[0] + curve[1], sessions * np.arange(25, -1, -1))
    taken = sessions * np.arange(25, 0, -1)
    np.testing.assert_allclose(curve[4], np.append(curve[0, :-1] / taken, 0.0), rtol=1e-6)
    np.testing.assert_allclose(curve[5], curve[0] / curve[0, 0])


def test_weights_are_shown_at_every_epoch(trained, best, events):
    _, model, history = trained
    tags = {tag for tag in events["train"] if tag.startswith("weights/")}
    assert tags == {f"weights/{variable.path}" for variable in model.trainable_variables}
    for variable in model.trainable_variables:
        shown = events["train"][f"weights/{variable.path}"]
        assert set(shown) == {epoch.epoch for epoch in history}
        bins, values = shown[best.epoch], variable.numpy()
        assert bins[:, 2].sum() == values.size
        assert (bins[0, 0], bins[-1, 1]) == (values.min(), values.max())


def test_gradient_norms_are_those_of_a_fresh_tape(feed, events):
    """The same steps up to the second one that is shown, whose gradient is taken anew."""
    model = new_model(feed)
    step = TrainStep(model, keras.optimizers.Adam(CONFIG.learning_rate), clip_norm=0.0)
    batches = (
        parts
        for epoch in range(1, 16)
        for parts in feed.training_batches(
            epoch=epoch,
            batch_size=CONFIG.batch_size,
            max_sessions=CONFIG.max_sessions,
            seed=CONFIG.seed,
        )
    )
    for _ in range(2 * STEPS_APART - 1):
        step(next(batches))
    (part,) = next(batches)
    with tf.GradientTape() as tape, packed(Packing.of(part.active)):
        outputs = model({name: part.inputs[name] for name in inputs_of(model)})
        cosines = tf.reduce_sum(outputs[PREDICTION] * part.target, axis=-1)
        loss = tf.reduce_mean(1.0 - cosines[part.weight == 1.0])
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    squares: dict[str, float] = {}
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        layer = variable.path.split("/")[0]
        values = tf.convert_to_tensor(gradient).numpy().astype(np.float64)
        squares[layer] = squares.get(layer, 0.0) + float(np.sum(values**2))
    shown = {
        tag: float(values[2 * STEPS_APART])
        for tag, values in events["steps"].items()
        if tag.startswith("step_gradient_norm/")
    }
    expected = {f"step_gradient_norm/{layer}": value**0.5 for layer, value in squares.items()}
    assert shown == pytest.approx(expected, rel=1e-3)
    at = {tag: float(values[2 * STEPS_APART]) for tag, values in events["steps"].items()}
    assert at["step/gradient_norm"] == pytest.approx(sum(squares.values()) ** 0.5, rel=1e-3)
    assert at["step/loss"] == pytest.approx(float(loss), rel=1e-4)
    assert at["step/learning_rate"] == pytest.approx(CONFIG.learning_rate)
    steps = sorted(events["steps"]["step/loss"])
    assert steps == list(range(STEPS_APART, steps[-1] + 1, STEPS_APART))


def test_flags_graphs_and_results_are_said_once(trained, best, feed, events):
    run, _, history = trained
    shown = events["run"]
    (text,) = shown["flags"].values()
    assert "--learning_rate=0.03" in text.item().decode()
    assert "--lstm_units=6" in text.item().decode()
    assert "fusion" in shown["layers"][0].item().decode()
    assert float(shown["total/best_Cosine"][0]) == pytest.approx(best.validation_cosine)
    assert float(shown["total/best_epoch"][0]) == best.epoch
    assert float(shown["total/epochs"][0]) == len(history)
    graphs = [
        event.graph_def
        for path in sorted((run / "tensorboard" / "run").glob("events.*"))
        for record in tf.data.TFRecordDataset(str(path))
        if (event := tf.compat.v1.Event.FromString(record.numpy())).graph_def
    ]
    (graph,) = (tf.compat.v1.GraphDef.FromString(graph) for graph in graphs)
    assert any("attention_weights" in node.name for node in graph.node)
    metadata = (run / "tensorboard" / "run" / "tracks_metadata.tsv").read_text().splitlines()
    assert len(metadata) == 1 + np.count_nonzero(feed.track_embeddings.any(axis=1))


def test_a_killed_run_that_goes_on_shows_no_step_twice(feed, events, tmp_path, monkeypatch):
    """Killed when the third epoch is shown, but not kept: it is trained, and shown, once more."""
    run, config = tmp_path / "killed", dataclasses.replace(CONFIG, max_epochs=4)

    def killed(self, progress):
        if progress.epoch == 3:
            raise KeyboardInterrupt
        save(self, progress)

    save = Checkpoints.save_epoch
    monkeypatch.setattr(Checkpoints, "save_epoch", killed)
    _, trainer = make_trainer(feed, run, config)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert max(read(run / "tensorboard" / "train")["fit/loss"]) == 3
    monkeypatch.undo()
    _, trainer = make_trainer(feed, run, config)
    trainer.train()
    found = events_of(run)
    last = {"train": 4, "validation": 4, "steps": max(found["steps"]["step/loss"])}
    assert last["steps"] >= 2 * STEPS_APART
    for folder, until in last.items():
        assert found[folder].keys() == events[folder].keys()
        for tag, expected in events[folder].items():
            values = found[folder][tag]
            assert list(values) == [step for step in expected if step <= until], tag
            for step, value in values.items() if tag not in NOT_REPEATABLE else ():
                np.testing.assert_array_equal(value, expected[step], err_msg=tag)
