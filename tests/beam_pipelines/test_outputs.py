"""Outputs that cannot be written: one line says why and what to do, and the older output stays."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosernn_tf.workspace import open_sessions
from tests.entry_points import Result
from tests.starter import Starter

from .files import write_even_log

LISTENS = 60_000
OLDER = 3


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A log, and a few listens in `log/`."""
    root = tmp_path_factory.mktemp("outputs")
    write_even_log(root / "log.parquet", listens=LISTENS, users=500, row_group_size=LISTENS // 10)
    rows = "".join(f"u,t{number},{1_554_076_800 + number}\n" for number in range(OLDER))
    (root / "log").mkdir()
    (root / "log/a.csv").write_text("user_id,track_id,timestamp\n" + rows)
    (root / "users.csv").write_text("user_id,age\nu,30\n")
    return root


@pytest.fixture(scope="module")
def starter(root) -> Iterator[Starter]:
    starter = Starter("beam_pipelines.sessionize", preload=["beam_pipelines.job"], folder=root)
    result = starter.start(["--output=older", "--listens=log", "--num_shards=1"]).wait()
    assert result.code == 0, result.stderr
    yield starter
    starter.close()


@pytest.fixture
def older(root, starter) -> Path:
    """An older output, of `log/`."""
    shutil.rmtree(root / "ws", ignore_errors=True)
    return Path(shutil.copytree(root / "older", root / "ws/sessions"))


def check_refused(result: Result, older: Path, *texts: str) -> None:
    assert result.code == 2, result.stderr
    for text in texts:
        assert text in result.error
    others = [line for line in result.stderr.splitlines() if not re.match(r"[IW]\d{4} ", line)]
    assert others == [f"error: {result.error}"]
    assert open_sessions(older).manifest.counters["kept"] == OLDER
    assert [path.name for path in older.parent.iterdir()] == [older.name]


# Disks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "shards"),
    [(10_000, 4), (150_000, 4), (1_200_000, 1)],
    ids=["reading", "sequencing", "writing"],
)
def test_a_limit_to_the_size_of_files(root, starter, older, limit, shards):
    """The larger the limit, the later it is met."""
    before = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({limit}, r.RLIM_INFINITY))"
    arguments = [f"--output={older}", "--listens=log.parquet", f"--num_shards={shards}"]
    result = starter.start(arguments, before=before).wait()
    check_refused(result, older, f"{older} could not be written", "`ulimit -f` lets it be")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("free", [200_000, 1_500_000, 3_500_000])
def test_a_full_disk(root, starter, small_disk, free):
    """The more is free, the later the disk is full."""
    older = Path(shutil.copytree(root / "older", small_disk / "ws/sessions"))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - free))
    arguments = [f"--output={older}", "--listens=log.parquet", "--num_shards=1"]
    result = starter.start(arguments).wait()
    check_refused(result, older, f"{older} could not be written: the disk is full, make room")


# Places ------------------------------------------------------------------------------------------


def test_a_place_where_nobody_may_write(starter, older):
    result = starter.start(["--output=/sys/sessions", "--listens=log.parquet"]).wait()
    check_refused(result, older, "/sys/sessions cannot be written", "choose another place")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--output=log.parquet", "--listens=log"], "log.parquet exists and is not an older out"),
        (["--output=log.parquet/x/y", "--listens=log"], "Not a directory): choose another place"),
        (["--output=log", "--listens=log"], "log/a.csv lies in log, which the job replaces"),
        (["--output=log", "--listens=log/*.csv"], "log/a.csv lies in log, which the job replaces"),
        (["--output=log/out", "--listens=log"], "--output=log/out lies in --listens=log, of which"),
        (["--output=ws/../log/out", "--listens=log/"], "lies in --listens=log/, of which it would"),
        (["--listens=ws/sessions/log.csv"], "log.csv lies in ws/sessions, which the job replaces"),
        (["--listens=ws"], "ws/sessions/"),
        (["--listens=log", "--users=ws/sessions/users.csv"], "lies in ws/sessions, which the job"),
    ],
)
def test_a_place_that_is_something_else(root, starter, older, arguments, text):
    shutil.copy(root / "users.csv", older)
    shutil.copy(root / "log/a.csv", older / "log.csv")
    arguments = ["--workspace=ws", *arguments]
    before = {path: path.read_bytes() for path in (root / "log.parquet", root / "log/a.csv")}
    result = starter.start(arguments).wait()
    check_refused(result, older, text)
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in (root / "log").iterdir()] == ["a.csv"]
