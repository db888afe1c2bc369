"""`python -m cosernn_tf.train`, as a user runs it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.models.base import load_model
from cosernn_tf.runs import is_finished
from cosernn_tf.training.run import train_run
from cosernn_tf.workspace import Workspace
from tests.entry_points import Result, run, run_each
from tests.workspaces import write_workspace

MODULE = "cosernn_tf.train"
REPOSITORY = Path(__file__).parents[2]
FLAGFILES = sorted((REPOSITORY / "experiments").rglob("*.flags"))
SMALL = (
    "--lstm_units=6",
    "--dense_units=5",
    "--learning_rate=0.02",
    "--batch_size=4",
    "--max_sessions=20",
    "--max_epochs=3",
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("workspace"))


ARGUMENTS = (*SMALL, "--run=killed")


@pytest.fixture(scope="module")
def resumed(workspace):
    """What a run printed that went on after it was killed, somewhere after its first epoch."""
    arguments = [f"--workspace={workspace.root}", *ARGUMENTS]
    history = workspace.run("killed") / "history.json"
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=workspace.root,
    ) as process:
        while process.poll() is None and not history.is_file():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not is_finished(workspace.run("killed"))
    done = run(MODULE, arguments, folder=workspace.root)
    assert done.code == 0, done.stderr
    return done


def test_a_run_says_where_it_stands(resumed, workspace):
    for text in (
        "Track embeddings of",
        "epoch 3/3: 100%",
        "validation cosine 0.",
        f"{workspace.run('killed')}: validation cosine 0.",
    ):
        assert text in resumed.stderr
    assert is_finished(workspace.run("killed"))


def test_a_killed_run_becomes_the_uninterrupted_one(resumed, workspace):
    config = TrainConfig(
        model=ModelConfig(lstm_units=6, dense_units=5),
        learning_rate=0.02,
        batch_size=4,
        max_sessions=20,
        max_epochs=3,
    )
    runs = train_run(workspace, config, run="reference"), workspace.run("killed")
    for name in ("config.json", "flags.txt"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()
    models = [load_model(run).get_weights() for run in runs]
    for ours, theirs in zip(*models, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    histories = [json.loads((run / "history.json").read_text()) for run in runs]
    cosines = [[epoch["validation_cosine"] for epoch in history] for history in histories]
    assert cosines[0] == cosines[1]
    assert len(cosines[0]) == 3


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def check_refused(results: list[Result], messages: Iterable[str]) -> None:
    for message, result in zip(messages, results, strict=True):
        assert result.code == 2, (message, result.stderr)
        assert message in result.error, result.stderr


def test_what_is_refused_before_anything_heavy_loads(resumed, workspace, tmp_path):
    root = f"--workspace={workspace.root}"
    unfinished, newer = tmp_path / "unfinished", tmp_path / "newer"
    for copy in (unfinished, newer):
        shutil.copytree(workspace.sessions, copy / "sessions")
    (unfinished / "sessions" / "_SUCCESS").unlink()
    manifest = newer / "sessions" / "manifest.json"
    text = manifest.read_text().replace('"schema_version": 1', '"schema_version": 99')
    manifest.write_text(text)
    before = files_of(workspace.root)
    refused = {
        "--learning_rate=-1.0 must be above 0": [root, "--learning_rate=-1"],
        "--model=gru is unknown: choose from cosernn, jodie, rrn, latent_cross": [
            root,
            "--model=gru",
        ],
        "--run=a/b must be a name": [root, "--run=a/b"],
        "Unknown command line flag 'epochs'": [root, "--epochs=3"],
        "flag --batch_size=x": [root, "--batch_size=x"],
        "unexpected argument 'cosernn'": [root, "cosernn"],
        "nowhere.flags": [root, "--flagfile=nowhere.flags"],
        "nowhere/sessions does not exist: run beam_pipelines.sessionize": ["--workspace=nowhere"],
        "has no _SUCCESS": [f"--workspace={unfinished}"],
        "has schema version 99, this program reads 1": [f"--workspace={newer}"],
    }
    results = run_each(
        MODULE,
        list(refused.values()),
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["cosernn_tf.workspace"],
    )
    check_refused(results, refused)
    assert files_of(workspace.root) == before


def test_what_is_refused_or_left_as_it_is(resumed, workspace, tmp_path):
    damaged = Workspace(tmp_path / "damaged")
    shutil.copytree(workspace.root, damaged.root, ignore=shutil.ignore_patterns("runs"))
    shard = next(damaged.sessions.glob("sessions-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    root = f"--workspace={workspace.root}"
    before = files_of(workspace.root)
    refused = {
        "does not have the checksum": [f"--workspace={damaged.root}", *SMALL],
        "differs in seed (1 there, 2 asked for)": [root, *ARGUMENTS, "--seed=2"],
    }
    # The flags that a run stores are its flagfile.
    same = [root, f"--flagfile={workspace.run('killed') / 'flags.txt'}", "--run=killed"]
    *results, again = run_each(
        MODULE,
        [*refused.values(), same],
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["cosernn_tf.training.run"],
    )
    check_refused(results, refused)
    assert again.code == 0, again.stderr
    assert "is finished and has the same flags and data: left as it is" in again.stderr
    assert files_of(workspace.root) == before


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_every_flagfile_begins_with_its_own_command(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    command = f"--flagfile={path.relative_to(REPOSITORY)}\n"
    assert command in path.read_text(encoding="utf-8")


def test_training_flagfiles_resolve(tmp_path):
    """They are read before the workspace is looked for; those of tables rest on another."""
    results = run_each(
        MODULE,
        [
            [f"--flagfile={path}", "--workspace=nowhere"]
            for path in FLAGFILES
            if path.parent.name != "results"  # Those of experiments.reproduce.
        ],
        folder=REPOSITORY,
        output=tmp_path / "results",
        preload=["cosernn_tf.workspace"],
    )
    for result in results:
        assert "nowhere/sessions does not exist" in result.error


def test_help_says_what_every_flag_does(tmp_path):
    result = run(MODULE, ["--help"], folder=tmp_path)
    for flag in ("--model", "--lstm_units", "--dense_units", "--features", "--pathways",
                 "--learning_rate", "--batch_size", "--max_sessions", "--max_epochs",
                 "--patience", "--clip_norm", "--seed", "--precision", "--strategy",
                 "--checkpoint_steps", "--checkpoint_minutes", "--run", "--playlists",
                 "--playlists_format", "--[no]overwrite"):  # fmt: skip
        assert f"  {flag}: " in result.stdout
