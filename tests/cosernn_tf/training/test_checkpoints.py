"""When a checkpoint is due, what it brings back, and what it says if it cannot."""

import dataclasses

import keras
import numpy as np
import pytest

from cosernn_tf.config import CheckpointConfig
from cosernn_tf.errors import UserError
from cosernn_tf.training.checkpoints import Checkpoints
from cosernn_tf.training.progress import EpochResult, Progress, Sums

UNDER_WAY = Progress(
    under_way=Sums(batches=3, loss=0.1 + 0.2, cosine=0.7, attention=1 / 3, pairs=7)
)


def result(epoch, cosine):
    return EpochResult(epoch, 0.5, 0.4, None, cosine, cosine, None, 1.0, 1.0, {"ap_25": 0.1})


def open_checkpoints(run, *, seed=0, config=None, clock=lambda: 0.0):
    """Of a model that draws numbers, whose weights depend on the seed."""
    run.mkdir(exist_ok=True)
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((3,))
    outputs = keras.layers.Dropout(0.5, seed=seed)(keras.layers.Dense(2)(inputs))
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    config = config or CheckpointConfig()
    return model, optimizer, Checkpoints(model, optimizer, run, config=config, clock=clock)


def values_of(model, optimizer):
    return [variable.numpy() for variable in [*model.variables, *optimizer.variables]]


@pytest.mark.parametrize("progress", [UNDER_WAY, UNDER_WAY.finish(result(1, 0.5))])
def test_everything_comes_back(tmp_path, progress):
    model, optimizer, checkpoints = open_checkpoints(tmp_path / "run")
    assert checkpoints.restore() == Progress()
    model(np.ones((1, 3)), training=True)  # the generator moves on
    optimizer.apply([np.ones((3, 2)), np.ones(2)], model.trainable_variables)
    checkpoints.save(progress)

    other, other_optimizer, again = open_checkpoints(tmp_path / "run", seed=1)
    assert again.restore() == progress
    pairs = zip(values_of(model, optimizer), values_of(other, other_optimizer), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(theirs, ours)
    np.testing.assert_array_equal(
        *(each(np.ones((1, 3)), training=True) for each in (model, other))
    )


@pytest.mark.parametrize(
    ("config", "due"),
    [
        (CheckpointConfig(steps=0, minutes=0), []),
        (CheckpointConfig(steps=3, minutes=0), [3, 6]),
        (CheckpointConfig(steps=0, minutes=2), [4, 8]),
        (CheckpointConfig(steps=3, minutes=2), [3, 6]),
        (CheckpointConfig(steps=4, minutes=1.5), [3, 4, 7, 8]),
    ],
)
def test_a_checkpoint_is_due_by_batches_and_by_time(tmp_path, config, due):
    """Each batch takes half a minute."""
    now = [0.0]
    _, _, checkpoints = open_checkpoints(tmp_path / "run", config=config, clock=lambda: now[0])
    found = []
    for batches in range(1, 9):
        now[0] += 30.0
        progress = Progress(under_way=Sums(batches=batches))
        if checkpoints.is_due(progress):
            found.append(batches)
            checkpoints.save(progress)
    assert found == due


def test_the_best_weights_are_those_that_the_checkpoint_says(tmp_path):
    """An epoch that was saved, but is in no checkpoint, leaves nothing."""
    run = tmp_path / "run"
    model, _, checkpoints = open_checkpoints(run)
    best = values_of(model, model)[:2]
    progress = Progress().finish(result(1, 0.5))
    checkpoints.save_epoch(progress)
    for variable in model.trainable_variables:
        variable.assign(variable + 1)
    checkpoints.save_epoch(progress.finish(result(2, 0.4)))
    # As a process that is killed leaves them.
    model.save_weights(run / "checkpoints" / "epoch-3.weights.h5")
    (run / "checkpoints" / "ckpt-9.data-00000-of-00001").touch()
    (run / "checkpoints" / "ckpt-9_temp").mkdir()
    (run / "history.json").write_text("[")
    other, _, again = open_checkpoints(run, seed=1)
    assert again.restore().epoch == 2
    again.load_best()
    for ours, theirs in zip(best, other.trainable_variables, strict=True):
        np.testing.assert_array_equal(theirs.numpy(), ours)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == [
        "best.weights.h5",
        "checkpoint",
        "ckpt-2.data-00000-of-00001",
        "ckpt-2.index",
    ]
    assert (run / "history.json").read_text().count('"epoch"') == 2


def test_a_damaged_checkpoint_is_named(tmp_path):
    run = tmp_path / "run"
    open_checkpoints(run)[2].save(UNDER_WAY)
    (path,) = (run / "checkpoints").glob("*.data-*")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"ckpt-1 is damaged .* from the start, remove .*checkpoi"):
        open_checkpoints(run)[2].restore()


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    run = tmp_path / "run"
    open_checkpoints(run)[2].save(UNDER_WAY)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5), keras.layers.Dense(2)])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    other = Checkpoints(model, optimizer, run, config=CheckpointConfig())
    with pytest.raises(UserError, match="damaged or of another version"):
        other.restore()


def test_what_is_no_number_of_batches_or_minutes():
    with pytest.raises(UserError, match="--checkpoint_steps=-1 must be 0 or above"):
        CheckpointConfig(steps=-1)
    for minutes in (-0.5, float("nan"), float("inf")):
        with pytest.raises(UserError, match="--checkpoint_minutes="):
            dataclasses.replace(CheckpointConfig(), minutes=minutes)
