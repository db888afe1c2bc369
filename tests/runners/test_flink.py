"""The job on a Flink cluster of several processes, with Python workers: `make flink-test`."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.entry_points import Result, run

from .comparison import Job, assert_equal_output, make_addition, make_job
from .flink import FlinkCluster, flink_cluster
from .processes import server, wait_for

JARS = os.environ.get("FLINK_JARS", "")

pytestmark = [
    pytest.mark.skipif(
        not JARS or not list(Path(JARS).glob("beam-runners-flink-*.jar")),
        reason="no jars of Flink: `make flink-test` fetches them and runs this",
    ),
    pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[FlinkCluster]:
    with flink_cluster(Path(JARS), tmp_path_factory.mktemp("flink")) as running:
        yield running


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    return make_job(tmp_path_factory.mktemp("job"))


def check(result: Result, cluster: FlinkCluster) -> None:
    logs = ", ".join(str(server.log) for server in cluster.servers)
    assert result.code == 0, f"{result.stderr}\nlogs: {logs}"


@pytest.mark.parametrize("runner", ["FlinkRunner", "PortableRunner"])
def test_the_output_is_that_of_the_direct_runner(runner, cluster, job, tmp_path):
    output = tmp_path / "sessions"
    check(job.run(cluster.arguments(runner), output), cluster)
    assert_equal_output(output, job.expected)
    last = cluster.last_job()
    assert last.state == "FINISHED"
    assert last.parallelism == cluster.slots == 4
    # Units of files went to several workers, on both task managers.
    assert set(last.task_managers) == {"task-manager-0", "task-manager-1"}
    assert len(cluster.worker_pids()) >= 4


def test_a_newer_log_is_added_as_by_the_direct_runner(cluster, tmp_path):
    addition, output, expected = make_addition(tmp_path)
    arguments = [*cluster.arguments("FlinkRunner"), *addition]
    check(run("beam_pipelines.sessionize", arguments, folder=tmp_path, timeout=550), cluster)
    assert_equal_output(output, expected)


def test_a_damaged_file_is_an_error_of_one_line_and_the_older_output_stays(cluster, job, tmp_path):
    listens = tmp_path / "log"
    shutil.copytree(job.listens, listens)
    users = Path(shutil.copy(job.users, tmp_path))
    damaged = listens / "a.jsonl.gz"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    output = tmp_path / "sessions"
    shutil.copytree(job.expected, output)
    result = Job(listens, users, job.expected).run(cluster.arguments("FlinkRunner"), output)
    assert result.code == 2, result.stderr
    assert f"{damaged} is damaged" in result.error
    assert_equal_output(output, job.expected)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_work_of_a_worker_that_is_killed_is_done_again(cluster, tmp_path):
    large = make_job(tmp_path, users=400, listens=150)
    killed: list[int] = []
    done = threading.Event()

    def kill_a_reader() -> None:
        """Kills a worker while it reads a file of the log."""
        while not done.is_set() and not killed:
            for pid in cluster.worker_pids():
                if has_open(pid, large.listens):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return
            time.sleep(0.002)

    killer = threading.Thread(target=kill_a_reader)
    killer.start()
    try:
        result = large.run(cluster.arguments("FlinkRunner"), tmp_path / "sessions")
    finally:
        done.set()
        killer.join()
    check(result, cluster)
    assert killed
    assert cluster.last_job().failures >= 1
    assert_equal_output(tmp_path / "sessions", large.expected)


def test_a_job_that_is_interrupted_ends_on_the_cluster_too_and_leaves_nothing(
    cluster, job, tmp_path
):
    before = len(cluster.states())
    arguments = job.arguments(cluster.arguments("FlinkRunner"), tmp_path / "sessions")
    command = [sys.executable, "-m", "beam_pipelines.sessionize", *arguments]
    with server("sessionize", command, folder=job.folder) as running:
        servers = [running, *cluster.servers]
        wait_for("the job", lambda: cluster.states()[before:] == ["RUNNING"], servers)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) != 0
    # Beam's job server does not cancel it, but it has nowhere to write.
    wait_for("its end", lambda: cluster.states()[before] in ("CANCELED", "FAILED"), cluster.servers)
    assert list(tmp_path.iterdir()) == []


def has_open(pid: int, folder: Path) -> bool:
    """Whether a process has a file of the folder open."""
    try:
        return any(
            path.readlink().is_relative_to(folder) for path in Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:  # It is gone, or closed one meanwhile.
        return False
