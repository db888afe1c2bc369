"""Epochs: what is learnt, what is kept, and when it stops."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.config import ModelConfig
from cosernn_tf.errors import UserError
from cosernn_tf.prediction import Predictor
from cosernn_tf.schema import USER_UNKNOWN
from cosernn_tf.training.divergence import DivergenceError
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.validation import validate
from cosernn_tf.workspace import Workspace
from tests.cosernn_tf.models.oracle import cosernn, weights_of
from tests.cosernn_tf.training.conftest import CONFIG, make_trainer, new_model, open_feed
from tests.workspaces import random_table, write_sessions, write_tracks


def of_size(name: str) -> ModelConfig:
    return dataclasses.replace(CONFIG.model, name=name, pathways=())


ENCORE = dataclasses.replace(
    CONFIG, model=ModelConfig(name="encore", dense_units=8, dropout=0.3), loss="ranking"
)
RRN = dataclasses.replace(CONFIG, model=of_size("rrn"))


def assert_equal_weights(model, other):
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)


def without_times(history):
    return [dataclasses.replace(epoch, sessions_per_second=0.0, seconds=0.0) for epoch in history]


def test_validation_is_the_mean_cosine_of_the_validation_sessions(feed):
    model = new_model(feed)
    found = validate(Predictor(model), feed, max_sessions=400)
    (block,) = feed.blocks()
    table, data, split = block.table, block.data, feed.sessions.manifest.split
    weights, spec = weights_of(model), feed.data_spec()
    cosines, attentions = [], []
    for user in range(table.num_users):
        rows = slice(*table.row_splits[user : user + 2])
        inputs = {
            name: values[None, user if len(values) == table.num_users else rows]
            for name, values in data.inputs.items()
        }
        predictions, attention = cosernn(weights, CONFIG.model, spec, inputs)
        assert attention is not None
        for step, row in enumerate(range(rows.start, rows.stop)):
            in_split = split.validation_start <= table.session_start[row] < split.test_start
            if in_split and data.target[row].any():
                cosines.append(predictions[0, step] @ data.target[row])
                attentions.append(attention[0, step, 0])
    assert found.sessions == len(cosines) > 20
    assert found.cosine == pytest.approx(np.mean(cosines), abs=1e-5)
    assert found.attention == pytest.approx(np.mean(attentions), abs=1e-5)


def test_validation_does_not_depend_on_the_blocks(workspace, feed):
    predictor = Predictor(new_model(feed))
    whole = validate(predictor, feed, max_sessions=20)
    by_blocks = validate(predictor, open_feed(workspace, sessions_per_block=1), max_sessions=20)
    assert by_blocks.sessions == whole.sessions
    assert by_blocks.cosine == pytest.approx(whole.cosine, abs=1e-6)
    assert by_blocks.attention == pytest.approx(whole.attention, abs=1e-6)


def test_training_learns(trained, feed):
    _, _, history = trained
    assert [epoch.epoch for epoch in history] == list(range(1, 16))
    assert history[-1].train_loss < history[0].train_loss - 0.25
    untrained = validate(Predictor(new_model(feed)), feed, max_sessions=20).cosine
    assert max(epoch.validation_cosine for epoch in history) > untrained + 0.25


def test_the_seed_decides_the_weights(feed):
    first, again = new_model(feed), new_model(feed)
    assert_equal_weights(first, again)
    other = new_model(feed, dataclasses.replace(CONFIG, seed=2))
    assert not np.array_equal(other.weights[0].numpy(), first.weights[0].numpy())


class InterruptedFeed(Feed):
    """Stops within an epoch, as a person does."""

    def training_batches(self, *, epoch, **options):
        for number, batch in enumerate(super().training_batches(epoch=epoch, **options)):
            if (epoch, number) == (3, 2):
                raise KeyboardInterrupt
            yield batch


@pytest.fixture(scope="module")
def rrn(feed, tmp_path_factory):
    """Knows users, and takes other ones for unknown in every epoch."""
    run = tmp_path_factory.mktemp("runs") / "rrn"
    model, trainer = make_trainer(feed, run, RRN)
    return run, model, trainer.train()


@pytest.fixture(scope="module")
def encore(feed, tmp_path_factory):
    """Drops what a generator of its own draws."""
    run = tmp_path_factory.mktemp("runs") / "encore"
    model, trainer = make_trainer(feed, run, ENCORE)
    return run, model, trainer.train()


@pytest.mark.parametrize(
    ("which", "config"), [("trained", CONFIG), ("rrn", RRN), ("encore", ENCORE)]
)
def test_two_runs_with_one_seed_are_equal_even_if_one_is_interrupted(
    request, which, config, feed, tmp_path
):
    _, model, history = request.getfixturevalue(which)
    run = tmp_path / "resumed"
    stopped, trainer = make_trainer(
        InterruptedFeed(feed.sessions, feed.track_embeddings), run, config
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert not np.array_equal(stopped.weights[0].numpy(), model.weights[0].numpy())
    assert len(json.loads((run / "history.json").read_text())) == 2
    stopped_at = trainer.progress
    assert (stopped_at.epoch, stopped_at.under_way.batches) == (2, 2)

    # A fresh model of other weights, as in a new process.
    tf.random.set_seed(5)
    resumed, trainer = make_trainer(feed, run, config)
    assert trainer.progress == stopped_at
    assert without_times(trainer.train()) == without_times(history)
    assert_equal_weights(resumed, model)
    # Once more, there is nothing left to train.
    finished, trainer = make_trainer(feed, run, config)
    assert without_times(trainer.train()) == without_times(history)
    assert_equal_weights(finished, model)


def test_a_user_whom_training_does_not_know_gets_a_sane_answer(rrn, feed):
    _, model, _ = rrn
    (block,) = feed.blocks()
    ids = block.data.inputs["user_id"]
    known = set(feed.data_spec().users)
    table = block.table
    windows = feed.validation_windows(block, max_sessions=20)

    def predict(users):
        inputs = {**block.data.inputs, "user_id": users}
        return Predictor(model)(dataclasses.replace(block.data, inputs=inputs), windows)

    as_known, as_unknown = predict(ids), predict(np.full(len(ids), b"somebody", object))
    nameless = predict(np.full(len(ids), USER_UNKNOWN, object))
    np.testing.assert_array_equal(as_unknown.embeddings, nameless.embeddings)
    rows = as_known.sessions
    scored = block.data.is_target[rows]
    cosines = [
        np.sum(found.embeddings * block.data.target[rows], axis=1)[scored].mean()
        for found in (as_known, as_unknown)
    ]
    # The music of this log depends on the hour alone: little is lost without the name.
    assert cosines[1] > cosines[0] - 0.05 > 0.6
    of_known = np.array([ids[user].decode() in known for user in table.user_of_session[rows]])
    assert np.abs(as_unknown.embeddings - as_known.embeddings)[of_known].max() > 1e-3
    first = new_model(feed, RRN).get_layer("user").embeddings
    moved = np.abs(model.get_layer("user").embeddings.numpy() - first.numpy()).max(axis=1)
    assert (moved > 0.01).all()


def test_training_stops_early_and_keeps_the_best(feed, tmp_path):
    # A rate at which this model overshoots, so that the last epoch is not the best.
    config = dataclasses.replace(
        CONFIG,
        model=ModelConfig(lstm_units=6, dense_units=5),
        learning_rate=0.3,
        max_epochs=30,
        patience=2,
    )
    model, trainer = make_trainer(feed, tmp_path / "run", config)
    history = trainer.train()
    cosines = [epoch.validation_cosine for epoch in history]
    best = int(np.argmax(cosines))
    assert len(history) == best + 1 + config.patience < config.max_epochs
    found = validate(Predictor(model), feed, max_sessions=config.max_sessions)
    assert found.cosine == pytest.approx(cosines[best], abs=1e-7)
    assert found.cosine > cosines[-1]


def test_the_best_epoch_may_be_told_by_the_ranking(feed, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=0.1, max_epochs=6, best_by="ranking")
    model, trainer = make_trainer(feed, tmp_path / "run", config)
    history = trainer.train()
    # The root of a product, by way of logarithms.
    scores = [
        np.exp(np.mean([np.log(mean) for mean in epoch.validation_ranking.values()]))
        for epoch in history
    ]
    assert {len(epoch.validation_ranking) for epoch in history} == {2}
    np.testing.assert_allclose([epoch.validation_score for epoch in history], scores, rtol=1e-12)
    best = history[int(np.argmax(scores))]
    assert trainer.progress.best is best
    assert best is not max(history, key=lambda epoch: epoch.validation_cosine)
    found = validate(Predictor(model), feed, max_sessions=config.max_sessions)
    assert found.cosine == pytest.approx(best.validation_cosine, abs=1e-7)


def test_without_a_ranking_the_score_is_the_cosine(feed):
    found = validate(Predictor(new_model(feed)), feed, max_sessions=20)
    assert found.ranking is None
    assert found.score("ranking") == found.score("cosine") == found.cosine


def test_a_loss_that_is_not_finite_stops(feed, tmp_path):
    config = dataclasses.replace(CONFIG, learning_rate=1e38)
    _, trainer = make_trainer(feed, tmp_path / "run", config)
    message = (
        r"the loss is (nan|inf) in epoch 1, batch 2 of .*run, which is stopped: no epoch is "
        r"finished.* try a lower --learning_rate than 1e\+38, or --clip_norm, with another --run"
    )
    with pytest.raises(DivergenceError, match=message):
        trainer.train()
    assert not (tmp_path / "run" / "history.json").exists()


class TurningFeed(Feed):
    """What was right becomes wrong in the third epoch."""

    def training_batches(self, *, epoch, **options):
        for groups in super().training_batches(epoch=epoch, **options):
            sign = np.float32(1 if epoch < 3 else -1)
            yield [dataclasses.replace(group, target=sign * group.target) for group in groups]


def test_a_loss_far_above_the_best_stops_and_keeps_the_best_weights(feed, tmp_path):
    turning = TurningFeed(feed.sessions, feed.track_embeddings)
    model, trainer = make_trainer(turning, tmp_path / "run")
    message = (
        r"the training cosine is -?0\.\d+ on average over \d+ batches, far below the 0\.\d+ of "
        r"epoch 2 in epoch 3, batch 7 of .*: the weights of epoch 2, the best, are in "
        r".*best\.weights\.h5; try"
    )
    with pytest.raises(DivergenceError, match=message):
        trainer.train()
    (_, best) = history = trainer.progress.history
    assert len(json.loads((tmp_path / "run" / "history.json").read_text())) == len(history)
    model.load_weights(tmp_path / "run" / "checkpoints" / "best.weights.h5")
    found = validate(Predictor(model), feed, max_sessions=CONFIG.max_sessions)
    assert found.cosine == pytest.approx(best.validation_cosine, abs=1e-7)


def test_the_history_is_on_disk(trained):
    run, _, history = trained
    stored = json.loads((run / "history.json").read_text())
    assert stored == [dataclasses.asdict(epoch) for epoch in history]


@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_split_without_a_target_is_an_error(tmp_path, split):
    table = random_table(0)
    sessions = write_sessions(tmp_path / "sessions", table)
    start = sessions.manifest.split.validation_start
    gone = table.session_start < start if split == "training" else table.session_start >= start
    skipped = np.where((table.skipped >= 0) & gone[:, None], 1, table.skipped)
    sessions = write_sessions(tmp_path / "sessions", dataclasses.replace(table, skipped=skipped))
    write_tracks(tmp_path / "tracks", sessions)
    feed = open_feed(Workspace(tmp_path))
    _, trainer = make_trainer(feed, tmp_path / "run")
    with pytest.raises(UserError, match=f"the {split} split has no session with a played"):
        trainer.train()
