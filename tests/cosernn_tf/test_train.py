"""`python -m cosernn_tf.train`, as a user runs it."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.models.base import load_model
from cosernn_tf.runs import is_finished
from cosernn_tf.workspace import Workspace
from tests.entry_points import run, run_each
from tests.workspaces import write_workspace

MODULE = "cosernn_tf.train"
REPOSITORY = Path(__file__).parents[2]
FLAGFILES = sorted((REPOSITORY / "experiments").glob("*.flags"))
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


@pytest.fixture(scope="module")
def trained(workspace):
    """What a run printed."""
    arguments = [f"--workspace={workspace.root}", *SMALL, "--run=first"]
    done = run(MODULE, arguments, folder=workspace.root)
    assert done.code == 0, done.stderr
    return done


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_run_says_where_it_stands(trained, workspace):
    for text in (
        "track embeddings",
        "epoch 1/3: 100%",
        "epoch 3/3: 100%",
        "validation cosine",
        "min left",
        f"{workspace.run('first')}: validation cosine 0.",
    ):
        assert text.lower() in trained.stderr.lower()
    assert is_finished(workspace.run("first"))


def test_it_goes_on_after_it_was_killed(trained, workspace, tmp_path):
    """With the same weights, wherever it was killed."""
    copy = Workspace(tmp_path / "workspace")
    shutil.copytree(workspace.root, copy.root, ignore=shutil.ignore_patterns("runs"))
    arguments = [f"--workspace={copy.root}", *SMALL, "--run=killed"]
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as process:
        history = copy.run("killed") / "history.json"
        while process.poll() is None and not history.is_file():
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not is_finished(copy.run("killed"))

    done = run(MODULE, arguments, folder=tmp_path)
    assert done.code == 0, done.stderr
    models = load_model(workspace.run("first")), load_model(copy.run("killed"))
    for ours, theirs in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    cosines = [
        [epoch["validation_cosine"] for epoch in json.loads((run_ / "history.json").read_text())]
        for run_ in (workspace.run("first"), copy.run("killed"))
    ]
    assert cosines[0] == cosines[1]


def test_what_is_refused(trained, workspace, tmp_path):
    """One line, exit code 2, and everything that was there is there still."""
    root = f"--workspace={workspace.root}"
    damaged, unfinished, newer = (tmp_path / name for name in ("damaged", "unfinished", "newer"))
    for copy in (damaged, unfinished, newer):
        shutil.copytree(workspace.root, copy, ignore=shutil.ignore_patterns("runs"))
    shard = next((damaged / "sessions").glob("sessions-*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    (unfinished / "sessions" / "_SUCCESS").unlink()
    manifest = newer / "sessions" / "manifest.json"
    text = manifest.read_text().replace('"schema_version": 1', '"schema_version": 99')
    manifest.write_text(text)

    refused = {
        "--learning_rate=-1.0 must be above 0": [root, "--learning_rate=-1"],
        "--model=gru is unknown: choose from cosernn": [root, "--model=gru"],
        "--run=a/b must be a name": [root, "--run=a/b"],
        "Unknown command line flag 'epochs'": [root, "--epochs=3"],
        "flag --batch_size=x": [root, "--batch_size=x"],
        "unexpected argument 'cosernn'": [root, "cosernn"],
        "nowhere.flags": [root, "--flagfile=nowhere.flags"],
        "nowhere/sessions does not exist: run beam_pipelines.sessionize": ["--workspace=nowhere"],
        "has no _SUCCESS": [f"--workspace={unfinished}"],
        "has schema version 99, this program reads 1": [f"--workspace={newer}"],
        "does not have the checksum": [f"--workspace={damaged}", *SMALL],
        "differs in seed (1 there, 2 asked for)": [root, *SMALL, "--run=first", "--seed=2"],
        "the loss is nan": [root, *SMALL, "--run=first", "--overwrite", "--learning_rate=1e38"],
    }
    before = files_of(workspace.root)
    same = [root, f"--flagfile={workspace.run('first') / 'flags.txt'}", "--run=first"]
    *results, again = run_each(
        MODULE,
        [*refused.values(), same],
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["cosernn_tf.training.run"],
    )
    for message, result in zip(refused, results, strict=True):
        assert result.code == 2, (message, result.stderr)
        assert message in result.error, result.stderr
    assert again.code == 0, again.stderr
    assert "is finished and has the same flags and data: left as it is" in again.stderr
    assert files_of(workspace.root) == before


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.name)
def test_every_flagfile_names_flags_and_its_own_command(path):
    """Each begins with a comment that gives the command; `--only_check_args` reads it."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert f"--flagfile=experiments/{path.name}" in path.read_text(encoding="utf-8")


def test_training_flagfiles_resolve(tmp_path):
    """They are read before the workspace is looked for."""
    flagfiles = [REPOSITORY / "experiments" / f"{name}.flags" for name in
                 ("cosernn", "paper", "quickstart")]  # fmt: skip
    results = run_each(
        MODULE,
        [[f"--flagfile={path}", "--workspace=nowhere"] for path in flagfiles],
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["cosernn_tf.workspace"],
    )
    for result in results:
        assert "nowhere/sessions does not exist" in result.error


def test_help_says_what_every_flag_does(tmp_path):
    result = run(MODULE, ["--help"], folder=tmp_path)
    for flag in ("--model", "--lstm_units", "--dense_units", "--learning_rate", "--batch_size",
                 "--max_sessions", "--max_epochs", "--patience", "--clip_norm", "--seed", "--run",
                 "--playlists", "--[no]overwrite"):  # fmt: skip
        assert f"  {flag}: " in result.stdout
