"""A run that is killed or stopped at any moment leaves the older output as it was.

The command itself is killed, with its whole process group, at moments spread over its life, which
are told by the files that it has written so far.
"""

import functools
import hashlib
import platform
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cosernn_tf.dataset import read_all
from cosernn_tf.workspace import open_sessions
from tests.starter import Started, Starter

from .files import files_of, write_even_log

LISTENS = 60_000
UNITS = 16
"""Row groups, each read by itself."""
SHARDS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A log, and a small one."""
    root = tmp_path_factory.mktemp("killed")
    table = write_even_log(
        root / "log.parquet", listens=LISTENS, users=2_000, row_group_size=LISTENS // UNITS
    )
    pq.write_table(table.slice(0, 1_000), root / "small.parquet")
    return root


@pytest.fixture(scope="module")
def starter(root) -> Iterator[Starter]:
    starter = Starter("beam_pipelines.sessionize", preload=["beam_pipelines.job"], folder=root)
    for workspace, log in (("older", "small"), ("expected", "log")):
        result = starter.start(arguments(workspace, log)).wait()
        assert result.code == 0, result.stderr
    yield starter
    starter.close()


def arguments(workspace: str, log: str) -> list[str]:
    return [f"--workspace={workspace}", f"--listens={log}.parquet", f"--num_shards={SHARDS}"]


ARGUMENTS = arguments("ws", "log")


def content(directory: Path) -> dict[str, str]:
    """Checksums of all files, but for the manifest, which has the name of the output."""
    files = files_of(directory, without=("manifest.json",))
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


@pytest.fixture
def workspace(root, starter) -> Path:
    """With the older output."""
    shutil.rmtree(root / "ws", ignore_errors=True)
    shutil.copytree(root / "older", root / "ws")
    return root / "ws"


def staging_of(process: Started, workspace: Path) -> Path:
    return workspace / f".sessions.staging-{platform.node()}-{process.pid}"


def number_of(pattern: str) -> Callable[[Path], int]:
    return lambda staging: len(list(staging.glob(pattern)))


IN_SPILL = number_of("spill/*")
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the start": lambda staging: True,
    "a staging directory": Path.is_dir,
    "reading": lambda staging: IN_SPILL(staging) >= 1,
    "half of the log read": lambda staging: IN_SPILL(staging) >= UNITS // 2,
    "sequencing": lambda staging: IN_SPILL(staging) >= UNITS + 2,
    "sequenced": lambda staging: IN_SPILL(staging) >= UNITS + SHARDS,
    "vocabularies": lambda staging: (staging / "vocabulary").is_dir(),
    "writing": lambda staging: number_of("*tfrecord*")(staging) >= 1,
    "half of the shards written": lambda staging: number_of("*tfrecord*")(staging) >= SHARDS // 2,
    "a manifest": lambda staging: (staging / "manifest.json").is_file(),
}
AT_THE_SWAP = """
import os, signal
from cosernn_tf import staging
swap = staging._exchange
def killed(one, other):
    {swap}
    os.kill(os.getpid(), signal.SIGKILL)
staging._exchange = killed
"""


def come_to(starter: Starter, workspace: Path, is_there: Callable[[Path], bool]) -> Started:
    """A process that is halted at a moment of its life."""
    for _ in range(5):
        process = starter.start(ARGUMENTS)
        staging = staging_of(process, workspace)
        if process.halt_when(functools.partial(is_there, staging)):
            return process
        # It was too quick for us, and has replaced the older output.
        process.wait()
        shutil.rmtree(workspace / "sessions")
        shutil.copytree(workspace.parent / "older" / "sessions", workspace / "sessions")
    raise AssertionError("it has never been seen there")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_killed_at_any_moment(starter, root, workspace):
    older, expected = content(root / "older/sessions"), content(root / "expected/sessions")
    for is_there in MOMENTS.values():
        process = come_to(starter, workspace, is_there)
        assert process.end(signal.SIGKILL).code == -signal.SIGKILL
        assert content(workspace / "sessions") == older
        assert open_sessions(workspace / "sessions").manifest.counters["kept"] == 1_000
        # What the runs before have left is gone, and this one's has the name that is documented.
        assert names(workspace) <= {"sessions", staging_of(process, workspace).name}
    for swap, there in (("", older), ("swap(one, other)", expected)):
        process = starter.start(ARGUMENTS, before=AT_THE_SWAP.format(swap=swap))
        assert process.wait().code == -signal.SIGKILL
        assert content(workspace / "sessions") == there
        assert names(workspace) == {"sessions", staging_of(process, workspace).name}
    result = starter.start(ARGUMENTS).wait()
    assert result.code == 0, result.stderr
    assert content(workspace / "sessions") == expected
    assert read_all(open_sessions(workspace / "sessions")).num_tracks.sum() == LISTENS
    assert names(workspace) == {"sessions"}
    assert names(root / "tmp") == set(), "there are temporary files elsewhere"


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("a staging directory", signal.SIGTERM),
        ("half of the log read", signal.SIGINT),
        ("writing", signal.SIGTERM),
    ],
)
def test_stopped_at_any_moment(starter, root, workspace, moment, number):
    process = come_to(starter, workspace, MOMENTS[moment])
    result = process.end(number)
    assert result.code == 128 + number
    assert result.error == f"stopped by {number.name}: nothing is half written"
    assert names(workspace) == {"sessions"}
    assert content(workspace / "sessions") == content(root / "older/sessions")
