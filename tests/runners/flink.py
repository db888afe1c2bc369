"""A Flink cluster of several processes on this machine, with Beam's job server and workers.

    job (`beam_pipelines.sessionize`) ──▶ Beam job server ──▶ Flink job manager
                                                                  │
    worker processes (Python) ◀─────────start───────── Flink task managers

Flink and the job server are told to keep to the loopback interface, on ports that are free. Beam's
services for workers listen on all: the make target has a network of its own for them.
"""

import contextlib
import json
import os
import shlex
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import HOST, Server, accepts_connections, free_port, server, wait_for

ROOT = Path(__file__).parent.parent.parent

_KEEP_MILLISECONDS = 5_000

_SETTINGS = {
    "jobmanager.rpc.address": HOST,
    "jobmanager.bind-host": HOST,
    "rest.address": HOST,
    "rest.bind-address": HOST,
    "taskmanager.host": HOST,
    "taskmanager.bind-host": HOST,
    # Beam's classes are on the class path already, and the same from task to task.
    "classloader.resolve-order": "parent-first",
    # What failed is tried again when the workers that died are not kept any more.
    "restart-strategy.type": "fixed-delay",
    "restart-strategy.fixed-delay.attempts": "3",
    "restart-strategy.fixed-delay.delay": f"{2 * _KEEP_MILLISECONDS} ms",
}
_TASK_MANAGER = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.heap.size": "512m",
    "taskmanager.memory.task.off-heap.size": "0",
    "taskmanager.memory.managed.size": "256m",
    "taskmanager.memory.network.min": "128m",
    "taskmanager.memory.network.max": "128m",
    # Each of the job's shuffles holds so many buffers of 32 KiB at least.
    "taskmanager.network.sort-shuffle.min-buffers": "64",
    "taskmanager.memory.jvm-metaspace.size": "256m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
_OPENED = (
    *(f"java.base/java.{name}" for name in ("io", "lang", "net", "nio", "text", "time", "util")),
    *(f"java.base/java.lang.{name}" for name in ("invoke", "reflect")),
    *(f"java.base/java.util.{name}" for name in ("concurrent", "concurrent.atomic")),
    "java.base/sun.nio.ch",
)
"""What Flink and Beam reach into, and Java 17 keeps shut unless told."""

_PIDS = "worker-pids"


@dataclass(frozen=True)
class FinishedJob:
    """What Flink's web interface tells of a job."""

    id: str
    state: str
    parallelism: int
    task_managers: Counter[str]
    """Subtasks that each has done."""
    failures: int
    """Tasks that failed, and were tried again if the job is finished."""


@dataclass(frozen=True)
class FlinkCluster:
    """Where its parts can be reached."""

    rest: int
    """Port of Flink's web interface."""
    job_server: int
    worker: Path
    """What a task manager starts for the Python steps."""
    slots: int
    servers: tuple[Server, ...]

    def arguments(self, runner: str) -> list[str]:
        """Of `beam_pipelines.sessionize`, for a job on all slots."""
        return [
            f"--runner={runner}",
            f"--job_endpoint={HOST}:{self.job_server}",
            "--environment_type=PROCESS",
            f"--environment_config={json.dumps({'command': str(self.worker)})}",
            f"--parallelism={self.slots}",
            # Processes of each task manager, kept from stage to stage.
            "--sdk_worker_parallelism=2",
            f"--environment_cache_millis={_KEEP_MILLISECONDS}",
            # An option that the job server alone knows.
            "--object_reuse",
        ]

    def worker_pids(self) -> list[int]:
        """Of all workers that were ever started."""
        started = self.worker.with_name(_PIDS)
        return [int(pid) for pid in started.read_text().split()] if started.exists() else []

    def states(self) -> list[str]:
        """Of all jobs, in the order in which they were started."""
        return [job["state"] for job in self._jobs()]

    def last_job(self) -> FinishedJob:
        job = self._jobs()[-1]["jid"]
        about = self.ask(f"/jobs/{job}")
        vertices = [
            self.ask(f"/jobs/{job}/vertices/{vertex['id']}") for vertex in about["vertices"]
        ]
        subtasks = [task for vertex in vertices for task in vertex["subtasks"]]
        history = self.ask(f"/jobs/{job}/exceptions")["exceptionHistory"]["entries"]
        return FinishedJob(
            id=job,
            state=about["state"],
            parallelism=max(vertex["parallelism"] for vertex in vertices),
            task_managers=Counter(task["taskmanager-id"] for task in subtasks),
            failures=len(history),
        )

    def _jobs(self) -> list[dict[str, Any]]:
        return sorted(self.ask("/jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def ask(self, path: str) -> Any:
        """What Flink's web interface knows."""
        return _ask(self.rest, path)


def _ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=10) as answer:
        return json.load(answer)


def _java(jars: Path, main: str, *arguments: object, heap: str) -> list[object]:
    opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    # Short lives: there is nothing to be gained from better machine code.
    quick = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    log = "-Dorg.slf4j.simpleLogger.showDateTime=true"
    return ["java", f"-Xmx{heap}", *quick, *opened, log, "-cp", f"{jars}/*", main, *arguments]


def _options(settings: dict[str, str]) -> list[str]:
    return [f"-D{name}={value}" for name, value in settings.items()]


def _write_worker(path: Path) -> Path:
    """The command `cosernn-worker` of this tree, whatever is installed."""
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    pids, log = (shlex.quote(str(path.with_name(name))) for name in (_PIDS, "workers.log"))
    lines = (
        "#!/bin/sh",
        f"echo $$ >>{pids}",
        f"export PYTHONPATH={shlex.quote(search)}",
        f'exec {shlex.quote(sys.executable)} -m beam_pipelines.worker "$@" 2>>{log}',
    )
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def flink_cluster(
    jars: Path, folder: Path, *, task_managers: int = 2, slots: int = 2
) -> Iterator[FlinkCluster]:
    """Starts everything, and ends it with the block.

    Args:
        jars: What the pom beside this file names.
        folder: For logs and temporary files.
        task_managers: Processes of Flink that work.
        slots: Of each: how many tasks run at a time.
    """
    rest, rpc, jobs = (free_port() for _ in range(3))
    settings = {
        **_SETTINGS,
        "rest.port": str(rest),
        "jobmanager.rpc.port": str(rpc),
        "io.tmp.dirs": str(folder),
        "web.tmpdir": str(folder),
        "taskmanager.numberOfTaskSlots": str(slots),
    }
    worker = _write_worker(folder / "worker")
    # Flink wants the file, and lets the command line overrule it.
    (folder / "config.yaml").write_text("{}\n")
    flink = ["--configDir", folder, *_options(settings)]
    runtime = "org.apache.flink.runtime"
    with contextlib.ExitStack() as stack:
        servers: list[Server] = []

        def start(name: str, command: list[object]) -> None:
            servers.append(stack.enter_context(server(name, command, folder=folder)))

        main = f"{runtime}.entrypoint.StandaloneSessionClusterEntrypoint"
        start("job-manager", _java(jars, main, *flink, heap="512m"))
        for number in range(task_managers):
            command = _java(
                jars,
                f"{runtime}.taskexecutor.TaskManagerRunner",
                *flink,
                *_options(_TASK_MANAGER),
                f"-Dtaskmanager.resource-id=task-manager-{number}",
                heap="640m",
            )
            start(f"task-manager-{number}", command)
        start(
            "job-server",
            _java(
                jars,
                "org.apache.beam.runners.flink.FlinkJobServerDriver",
                f"--flink-master={HOST}:{rest}",
                f"--job-host={HOST}",
                f"--job-port={jobs}",
                "--artifact-port=0",
                "--expansion-port=0",
                f"--artifacts-dir={folder}/artifacts",
                heap="512m",
            ),
        )
        all_slots = task_managers * slots
        wait_for(
            "the cluster's slots",
            lambda: _ask(rest, "/overview")["slots-total"] == all_slots,
            servers,
        )
        wait_for("the job server", lambda: accepts_connections(jobs), servers)
        yield FlinkCluster(rest, jobs, worker, all_slots, tuple(servers))
