"""Runs that are killed or stopped, of `python -m cosernn_tf.train` itself.

They are started again with the same command until they are done, and must then be the run that
nothing has disturbed. What is planned happens in the process that trains, by code that is run
before it; the rest comes from outside.
"""

import dataclasses
import json
import random
import signal
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.models.base import load_model
from cosernn_tf.runs import is_finished
from cosernn_tf.workspace import Workspace
from tests.entry_points import Result
from tests.starter import Starter

FLAGS = (
    "--model=rrn",  # its batches depend on draws: some users are taken for unknown
    "--lstm_units=6",
    "--dense_units=10",
    "--learning_rate=0.03",
    "--batch_size=3",
    "--max_sessions=20",
    "--max_epochs=3",
)
BATCHES = 7
"""In an epoch."""
EVERY_TWO_BATCHES = ("--checkpoint_steps=2", "--checkpoint_minutes=0")
NEVER = ("--checkpoint_steps=0", "--checkpoint_minutes=0")

TOOLS = textwrap.dedent(
    """
    import itertools, os, resource, signal
    from pathlib import Path
    import keras
    from tensorflow.python.checkpoint.checkpoint_management import CheckpointManager
    from cosernn_tf.training import loop, run, step
    from cosernn_tf.training.checkpoints import Checkpoints

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def cut(path):
        os.truncate(path, os.path.getsize(path) // 2)

    def at_call(number, owner, name, before=lambda *args: None, after=lambda *args: None):
        real, calls = getattr(owner, name), itertools.count(1)
        def called(*args, **kwargs):
            is_it = next(calls) == number
            if is_it:
                before(*args)
            result = real(*args, **kwargs)
            if is_it:
                after(*args)
            return result
        setattr(owner, name, called)
    """
)


@dataclasses.dataclass(frozen=True)
class Moment:
    """Where a run is in its life, and what happens to it there."""

    what: str
    code: str
    """Run before the command."""
    exit_code: int
    goes_on: str
    """Where the same command goes on."""


KILLED = -signal.SIGKILL
MOMENTS = (
    Moment(
        "half of a checkpoint is written",
        "def halve(manager):\n"
        "    cut(max(Path(manager.directory).glob('ckpt-*.data-*'), key=os.path.getmtime))\n"
        "    die()\n"
        # Once by the first checkpoint before it sweeps, once after.
        "at_call(3, CheckpointManager, '_record_state', halve)",
        KILLED,
        "in epoch 1 after batch 2",
    ),
    Moment(
        "the disk is full",
        "def fill(*_):\n"
        "    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        # Room for what is said on stderr, which is a file here, not for the weights.
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (16_000, hard))\n"
        "at_call(1, Checkpoints, 'save', fill)",
        2,
        "in epoch 1 after batch 2",
    ),
    Moment(
        "half of the best weights are written",
        "def halve(model, path):\n    cut(path)\n    die()\n"
        "at_call(1, keras.Model, 'save_weights', after=halve)",
        KILLED,
        f"in epoch 1 after batch {BATCHES - 1}",
    ),
    Moment(
        "best weights and history have not got their names",
        "at_call(2, Checkpoints, '_publish', lambda *_: die())",
        KILLED,
        "after epoch 1",
    ),
    Moment(
        "stopped within a step",
        "def stop(*_):\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "at_call(3, step.TrainStep, '_take_step', stop)",
        128 + signal.SIGTERM,
        "in epoch 2 after batch 3",
    ),
    Moment(
        "Ctrl-C in validation",
        "at_call(1, loop, 'validate', lambda *_: signal.raise_signal(signal.SIGINT))",
        128 + signal.SIGINT,
        f"in epoch 2 after batch {BATCHES}",
    ),
)
IN_THE_EXPORT = (
    "at_call(1, run, 'export', after=lambda model, path: (cut(path / 'saved_model.pb'), die()))"
)


def arguments(workspace: Workspace, run: str, *flags: str) -> list[str]:
    return [f"--workspace={workspace.root}", f"--run={run}", *FLAGS, *flags]


@pytest.fixture(scope="module")
def whole(starter, workspace) -> Path:
    """The run that nothing disturbs, and that has no checkpoint within an epoch."""
    result = starter.start(arguments(workspace, "whole", *NEVER)).wait()
    assert result.code == 0, result.stderr
    return workspace.run("whole")


def resumed_at(result: Result) -> str | None:
    lines = [line for line in result.stderr.splitlines() if "Resuming run killed" in line]
    assert len(lines) <= 1
    return lines[0].partition("Resuming run killed ")[2] if lines else None


def kill_at_random(starter: Starter, command: list[str]) -> Result:
    """Somewhere in the third epoch, or soon after it."""
    process = starter.start(command)
    assert process.halt_when(lambda: "epoch 3/3:" in Path(process.output + "stderr").read_text())
    process.go_on()
    time.sleep(random.random())
    return process.end(signal.SIGKILL)


def test_a_run_that_is_killed_and_stopped_becomes_the_undisturbed_one(starter, workspace, whole):
    command = arguments(workspace, "killed", *EVERY_TWO_BATCHES)
    expected = None
    for moment in MOMENTS:
        flags = NEVER if moment.exit_code > 128 else EVERY_TWO_BATCHES
        process = starter.start(
            arguments(workspace, "killed", *flags), before=f"{TOOLS}\n{moment.code}"
        )
        result = process.wait()
        assert result.code == moment.exit_code, (moment.what, result.stderr)
        assert resumed_at(result) == expected, moment.what
        expected = moment.goes_on
        if moment.exit_code == 2:
            assert "could not be written: a file is larger than the disk or `ulimit -f`" in (
                result.error
            )
        if moment.exit_code > 128:
            assert f"Run killed is saved {moment.goes_on}: the same command goes on" in (
                result.stderr
            )
            assert result.error.startswith("stopped by SIG")
        assert not is_finished(workspace.run("killed"))
    result = kill_at_random(starter, command)
    assert (result.code, resumed_at(result)) == (KILLED, expected)
    result = starter.start(command, before=f"{TOOLS}\n{IN_THE_EXPORT}").wait()
    assert result.code == KILLED, result.stderr
    result = starter.start(command).wait()
    assert result.code == 0, result.stderr
    assert resumed_at(result) == "after epoch 3"
    assert_equal_runs(workspace.run("killed"), whole)
    assert set(names(workspace.run("killed"))) == set(names(whole))
    assert len(list((workspace.run("killed") / "checkpoints").iterdir())) == 4


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def assert_equal_runs(run: Path, other: Path) -> None:
    assert [without_times(epoch) for epoch in history(run)] == [
        without_times(epoch) for epoch in history(other)
    ]
    for ours, theirs in zip(
        load_model(run).get_weights(), load_model(other).get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    # The last epoch's weights, and the optimizer's state.
    states = [tf.train.load_checkpoint(str(path / "checkpoints")) for path in (run, other)]
    keys = [set(state.get_variable_to_shape_map()) for state in states]
    assert keys[0] == keys[1]
    compared = {
        key for key in keys[0] if not key.startswith(("progress", "save_counter", "_CHECK"))
    }
    assert any("optimizer" in key for key in compared)
    for key in compared:
        ours, theirs = (state.get_tensor(key) for state in states)
        np.testing.assert_array_equal(ours, theirs, err_msg=key)
    assert events(run) == events(other)


def history(run: Path) -> list[dict[str, object]]:
    return list(json.loads((run / "history.json").read_text()))


def without_times(epoch: dict[str, object]) -> dict[str, object]:
    return {key: epoch[key] for key in epoch if key not in ("seconds", "sessions_per_second")}


def events(run: Path) -> dict[tuple[str, str, int], str]:
    """What TensorBoard shows of training and validation, which nothing may say twice."""
    found = {}
    for path in sorted((run / "tensorboard").rglob("*tfevents*")):
        directory = path.parent.name
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                key = (directory, value.tag, event.step)
                assert key not in found, key
                is_time = "per_second" in value.tag or "seconds" in value.tag
                is_time |= directory == "run"
                found[key] = "" if is_time else str(value.tensor)
    assert {directory for directory, _, _ in found} >= {"train", "validation"}
    return found


def test_a_run_that_diverges_is_stopped_for_good(starter, workspace):
    command = [*arguments(workspace, "diverging"), "--learning_rate=1e38"]
    first, second = (starter.start(command).wait() for _ in range(2))
    run = workspace.run("diverging")
    assert (first.code, second.code) == (2, 2)
    assert f"in epoch 1, batch 2 of {run}, which is stopped" in first.error
    assert "try a lower --learning_rate than 1e+38, or --clip_norm" in first.error
    assert second.error == (
        f"the same flags would lead to the same again (remove {run / 'diverged.txt'} to try "
        f"nonetheless): {first.error}"
    )
    assert not is_finished(run)


def test_an_attempt_to_overwrite_goes_on_too(starter, workspace, whole):
    """The older run stays in its place until then."""
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    command = [*arguments(workspace, "whole", *EVERY_TWO_BATCHES), "--overwrite", "--seed=2"]
    die = "at_call(3, step.TrainStep, '_take_step', lambda *_: die())"
    result = starter.start(command, before=f"{TOOLS}\n{die}").wait()
    assert result.code == KILLED, result.stderr
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
    attempt = workspace.runs / ".attempts" / "whole"
    stop = (
        "at_call(2, step.TrainStep, '_take_step', lambda *_: os.kill(os.getpid(), signal.SIGINT))"
    )
    result = starter.start(command, before=f"{TOOLS}\n{stop}").wait()
    assert result.code == 128 + signal.SIGINT
    assert "Resuming run whole in epoch 1 after batch 2" in result.stderr
    assert "Run whole is saved in epoch 1 after batch 4" in result.stderr
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
    assert (attempt / "checkpoints" / "checkpoint").is_file()
