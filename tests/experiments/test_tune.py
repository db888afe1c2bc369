"""`python -m experiments.tune`, as a user runs it: killed, and given again."""

import csv
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.runs import is_finished
from cosernn_tf.table import SessionTable
from cosernn_tf.training.run import train_run
from cosernn_tf.workspace import Workspace
from experiments.tuning.trials import State, read_history, read_trials
from tests.entry_points import Result, run, run_each
from tests.workspaces import random_table, split_of, write_workspace

from .test_table import children_of, files_of, is_running, wait_until

MODULE = "experiments.tune"
FLAGS = (
    "--study=mine",
    "--sampler=tpe",
    "--seed=2",
    "--search=learning_rate=1.0,0.001,1e38",
    "--pruner=median",
    "--prune_after_epochs=1",
    "--prune_after_trials=1",
    "--lstm_units=4",
    "--dense_units=3",
    "--max_sessions=20",
    "--max_epochs=2",
)
GOOD, BAD = (
    TrainConfig(
        ModelConfig(lstm_units=4, dense_units=3),
        learning_rate=learning_rate,
        batch_size=8,
        max_sessions=20,
        max_epochs=2,
        seed=2,
    )
    # At the first the model soon gives the long-term embedding, which here is not easily beaten.
    for learning_rate in (1.0, 0.001)
)


def with_another_test_split(table: SessionTable) -> SessionTable:
    """Everything that a session has but its time and user is another one's, from then on."""
    (rows,) = np.nonzero(table.session_start >= split_of(table).test_start)
    others = np.roll(rows, 7)
    columns = dict(vars(table))
    for name in ("device", "stream_source", "num_tracks", "track", "skipped"):
        columns[name] = columns[name].copy()
        columns[name][rows] = columns[name][others]
    return SessionTable(**columns)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    root = tmp_path_factory.mktemp("workspace")
    return write_workspace(root, table=with_another_test_split(random_table()))


@pytest.fixture(scope="module")
def resumed(workspace) -> Result:
    """The study after a kill within its second trial."""
    arguments = [f"--workspace={workspace.root}", *FLAGS]
    study = Workspace(workspace.tuning("mine"))
    second = study.run("trial-001")
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=workspace.root,
    ) as process:
        wait_until((second / "config.json").is_file)
        (training,) = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
    # Nobody trains on beside the next attempt.
    wait_until(lambda: not is_running(training))
    assert not is_finished(second)
    before = files_of(study.run("trial-000"))
    result = run(MODULE, arguments, folder=workspace.root)
    assert before.items() >= files_of(study.run("trial-000")).items()
    return result


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[float, tuple[float, ...]]:
    """Cosines by learning rate, of runs in a workspace with the original test split."""
    original = write_workspace(tmp_path_factory.mktemp("original"))
    return {
        config.learning_rate: read_history(train_run(original, config, run=name)).scores
        for name, config in (("good", GOOD), ("bad", BAD))
    }


def test_it_ends_with_the_trials_of_a_study_that_was_not_killed(resumed, workspace, expected):
    """And of one with another test split; so of what it may not see, it has seen nothing."""
    assert resumed.code == 0, resumed.stderr
    trials = read_trials(workspace.tuning("mine") / "trials.json")
    found = {trial.flags["learning_rate"]: (trial.state, trial.scores) for trial in trials}
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert found == {
        1.0: (State.FINISHED, expected[1.0]),
        0.001: (State.PRUNED, expected[0.001][:1]),
        1e38: (State.FAILED, ()),
    }
    assert "the loss is nan" in str(next(trial.error for trial in trials if trial.error))


def test_what_is_left_is_the_best_run_and_a_report(resumed, workspace):
    folder = workspace.tuning("mine")
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert text in resumed.stdout
    with (folder / "table.csv").open() as file:
        first, *others = csv.DictReader(file)
    assert float(first["learning_rate"]) == 1.0
    assert [row["state"] for row in others] == ["pruned", "failed"]
    runs = Workspace(folder)
    finished = {path.name for path in runs.runs.iterdir() if is_finished(path)}
    assert finished == {f"trial-{int(first['trial']):03d}"}
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "flags.svg", "trials.svg", "epochs.svg"
    }  # fmt: skip
    assert list((folder / "tensorboard" / finished.pop()).glob("events*"))


def test_the_best_flags_train_the_best_again(resumed, workspace, tmp_path):
    """As far as a run that is finished can tell: with them, it is the same."""
    best = workspace.tuning("mine") / "best.flags"
    runs = Workspace(workspace.tuning("mine")).runs
    (finished,) = (path for path in runs.iterdir() if is_finished(path))
    shutil.copytree(finished, workspace.run("mine-best"))
    arguments = [f"--workspace={workspace.root}", f"--flagfile={best}"]
    result = run("cosernn_tf.train", arguments, folder=tmp_path)
    assert result.code == 0, result.stderr
    assert "is finished and has the same flags and data" in result.stderr


def test_what_is_refused(workspace, tmp_path):
    root = f"--workspace={workspace.root}"
    refused = {
        "--search=seed=1: 'seed' is none of": [root, "--search=seed=1"],
        "--sampler=grid takes no range": [root, "--search=batch_size=2..4", "--trials=2"],
        "--trials is needed where --search has a range": [
            root, "--search=batch_size=2..4", "--sampler=tpe"
        ],
        "--trials=0 must be at least 1": [root, "--trials=0"],
        "--search has lstm_units, and --model=encore has no RNN": [root, "--model=encore"],
        "--seed=-1 must be": [root, "--seed=-1"],
        "--batch_size=4 cannot be given: each row or run has its own --batch_size": [
            root, "--batch_size=4"
        ],
        "unexpected argument 'fast'": [root, "fast"],
        "--base=nowhere.flags does not exist": [root, "--base=nowhere.flags"],
        "--run=a/b-best must be a name": [root, "--study=a/b"],
        "--prune_after_epochs=0 must be at least 1": [root, "--prune_after_epochs=0"],
        "nowhere/sessions does not exist": ["--workspace=nowhere"],
        # Training refuses these itself, and no trial is recorded.
        "Unknown command line flag 'depth'": [root, "--study=depth", "--depth=2"],
        "--max_epochs=0 must be at least 1": [root, "--study=none", "--max_epochs=0"],
    }  # fmt: skip
    results = run_each(
        MODULE,
        list(refused.values()),
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["experiments.tuning.advice"],
    )
    for message, result in zip(refused, results, strict=True):
        assert result.code == 2, (message, result.stderr)
        assert f"error: {message}" in result.stderr, result.stderr
    for name in ("depth", "none"):
        assert read_trials(workspace.tuning(name) / "trials.json") == []
    config = json.loads((workspace.tuning("mine") / "study.json").read_text())
    assert config["search"] == ["learning_rate=1.0,0.001,1e+38"]
