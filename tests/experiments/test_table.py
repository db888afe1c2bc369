"""`python -m experiments.table`, as a user runs it: killed, and given again."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cosernn_tf.runs import is_finished
from cosernn_tf.workspace import Workspace
from tests.entry_points import Result, run, run_each
from tests.workspaces import write_workspace

MODULE = "experiments.table"
ARGUMENTS = (
    "--table=4",
    "--rows=table4_all,cosernn",
    "--prefix=my-",
    "--lstm_units=4",
    "--dense_units=3",
    "--max_sessions=20",
    "--max_epochs=1",
)
FIRST, SECOND = "my-table4_all-seed1", "my-cosernn-seed1"


def wait_until(condition) -> None:
    for _ in range(3_000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never came")


def is_running(process: int) -> bool:
    """Whether it exists, and is more than a zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def children_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def files_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def resumed(workspace) -> tuple[Result, dict[Path, int]]:
    """The table after a kill within its second run; and the files of the first run before that."""
    arguments = [f"--workspace={workspace.root}", *ARGUMENTS]
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=workspace.root,
    ) as process:
        wait_until((workspace.run(SECOND) / "config.json").is_file)
        (training,) = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
    # Nobody trains on beside the next attempt.
    wait_until(lambda: not is_running(training))
    assert is_finished(workspace.run(FIRST))
    assert not is_finished(workspace.run(SECOND))
    before = files_of(workspace.run(FIRST))
    return run(MODULE, arguments, folder=workspace.root), before


def test_it_goes_on_where_it_stopped(resumed, workspace):
    result, before = resumed
    assert result.code == 0, result.stderr
    assert files_of(workspace.run(FIRST)) == before
    assert is_finished(workspace.run(SECOND))
    config = json.loads((workspace.run(FIRST) / "config.json").read_text())["config"]
    assert config["model"]["pathways"] == ["all"]
    assert (config["seed"], config["batch_size"], config["max_epochs"]) == (1, 8, 1)


def test_the_table_is_printed_and_written(resumed, workspace):
    result, _ = resumed
    folder = workspace.table(4)
    text = (folder / "table.md").read_text(encoding="utf-8")
    assert text in result.stdout
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
    with (folder / "table.csv").open() as file:
        cosines = {
            row["row"]: float(row["mean"])
            for row in csv.DictReader(file)
            if row["metric"] == "cosine"
        }
    assert cosines == {
        row: metrics["models"][name]["metrics"]["cosine"]
        for row, name in (("table4_all", FIRST), ("cosernn", SECOND))
    }
    command = (folder / "command.txt").read_text()
    flags = " ".join([f"--workspace={workspace.root}", *ARGUMENTS])
    assert command == f"python -m experiments.table {flags}\n"
    # Others are tested against the reference.
    assert metrics["references"] == [SECOND, FIRST]


def test_what_is_refused(workspace, tmp_path):
    root = f"--workspace={workspace.root}"
    refused = {
        "--table=None is none of 2, 3, 4": [root],
        "--table=6 is none of 2, 3, 4, 5": [root, "--table=6"],
        "--rows has 'jodie', which is none of": [root, "--table=3", "--rows=jodie"],
        "--rows is empty": [root, "--table=3", "--rows="],
        "--seeds has 'x', which is no whole number": [root, "--table=3", "--seeds=1,x"],
        "--seeds is empty": [root, "--table=3", "--seeds="],
        "--base=nowhere.flags does not exist": [root, "--table=3", "--base=nowhere.flags"],
        "--features=context cannot be given": [root, "--table=3", "--features=context"],
        "--run=a/b-table3_last_session-seed1 must be": [root, "--table=3", "--prefix=a/b-"],
        "nowhere/sessions does not exist": ["--workspace=nowhere", "--table=3"],
        "cosernn_tf.train ended with exit code 2": [root, "--table=3", "--max_epochs=0"],
    }
    results = run_each(
        MODULE,
        list(refused.values()),
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["experiments.table_runs"],
    )
    for message, result in zip(refused, results, strict=True):
        assert result.code == 2, (message, result.stderr)
        # What a command that it runs has to say stands before.
        assert f"error: {message}" in result.stderr, result.stderr
