"""Loads a server of `cosernn_tf.serve` and keeps what it took."""

import dataclasses
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from absl import logging

from cosernn_tf.config import require
from cosernn_tf.errors import UserError
from cosernn_tf.provenance import describe_machine, in_one_line

if TYPE_CHECKING:
    from benchmarks.serving_process import ServerProcess
    from cosernn_tf.workspace import Workspace

_SCRIPT: Final = Path(__file__).with_name("serving.lua")
_RESULT: Final = re.compile(r"^RESULT (.*)$", re.MULTILINE)
_FIRST_LISTEN: Final = 312_000_000
"""Times five it is a second after all of the log."""
_SAMPLE_SECONDS: Final = 60
_SOAKED_SHARE: Final = 10
"""Of so many users one is in memory during a soak, so that it is soon full."""
_MB: Final = 1_000_000


class Mode(StrEnum):
    """What is measured."""

    LOAD = "load"
    """Requests a second and their latency, at several numbers of connections."""
    SOAK = "soak"
    """The same for long, with listens among the requests, and the memory meanwhile."""
    KILL = "kill"
    """What is lost when the server is killed under load."""
    INPROCESS = "inprocess"
    """What the recommender takes by itself, without a server around it."""


@dataclass(frozen=True)
class ServingBenchmarkConfig:
    """What to measure.

    Raises:
        UserError: An option is out of its range.
    """

    directory: Path
    """For the workspace, stores, logs and results."""
    mode: Mode = Mode.LOAD
    num_users: int = 100_000
    num_tracks: int = 1_000_000
    sessions_per_user: int = 10
    lstm_units: int = 400
    connections: tuple[int, ...] = (1, 8, 64)
    seconds: int = 20
    """Of each load; the one before it, to warm up, is a quarter of it."""
    soak_seconds: int = 600
    share_of_listens: float = 0.1
    """Of the requests of a soak."""
    kills: int = 10
    calls: int = 2_000
    """Timed of each kind, in process; of batches a tenth."""
    seed: int = 1

    def __post_init__(self) -> None:
        require(bool(self.connections), "--connections is empty")
        for name in ("seconds", "soak_seconds", "kills", "calls"):
            require(getattr(self, name) >= 1, f"--{name} must be at least 1")
        require(all(c >= 1 for c in self.connections), "--connections must be at least 1")
        share = self.share_of_listens
        require(0 <= share <= 1, f"--share_of_listens={share} must be from 0 to 1")


def benchmark(config: ServingBenchmarkConfig) -> str:
    """Measures, writes `serving-<mode>.json`, and gives a Markdown table."""
    require(
        config.mode in (Mode.KILL, Mode.INPROCESS) or shutil.which("wrk") is not None,
        "there is no wrk on the path: install Debian's package wrk",
    )
    config.directory.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    measure = {
        Mode.LOAD: _load,
        Mode.SOAK: _soak,
        Mode.KILL: _kill,
        Mode.INPROCESS: _in_process,
    }
    measured = measure[config.mode](config)
    everything = {"machine": machine, "options": dataclasses.asdict(config), **measured}
    path = config.directory / f"serving-{config.mode}.json"
    path.write_text(json.dumps(everything, indent=2, default=str) + "\n", encoding="utf-8")
    header, *rows = measured["table"]
    lines = [header, ["---:"] * len(header), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = f"\n{measured['notes']}\n" if "notes" in measured else ""
    return f"{in_one_line(machine)}\n\n{table}\n{notes}"


def _served(config: ServingBenchmarkConfig) -> tuple["Workspace", str]:
    """A workspace of full size, and its run."""
    from benchmarks.serving_workspace import ServingWorkspaceConfig, make_served

    size = ServingWorkspaceConfig(
        num_users=config.num_users,
        num_tracks=config.num_tracks,
        sessions_per_user=config.sessions_per_user,
        lstm_units=config.lstm_units,
        seed=config.seed,
    )
    return make_served(config.directory, size)


def _in_process(config: ServingBenchmarkConfig) -> dict[str, Any]:
    """Without a server."""
    from benchmarks.serving_inprocess import (
        InProcessConfig,
        measure_in_process,
        notes_of,
        table_of,
    )
    from cosernn_tf.serving.threads import one_operation_at_a_time

    one_operation_at_a_time()  # as the server
    workspace, run = _served(config)
    result = measure_in_process(
        InProcessConfig(
            workspace.root,
            run,
            num_users=config.num_users,
            num_tracks=config.num_tracks,
            folder=config.directory,
            calls=config.calls,
            seed=config.seed,
        )
    )
    return {"result": result, "table": table_of(result), "notes": notes_of(result)}


# A server of full size ---------------------------------------------------------------------------


def _started(config: ServingBenchmarkConfig, *, max_users: int) -> "ServerProcess":
    """A server on a store of its own, which it keeps for the next time."""
    # TensorFlow comes after the flags have been checked.
    from benchmarks.serving_process import ServerProcess

    workspace, run = _served(config)
    start = time.monotonic()
    server = ServerProcess.start(
        workspace.root,
        run,
        store=str(workspace.root / "serving" / f"{config.mode}.sqlite"),
        output=config.directory / f"serving-{config.mode}.log",
        flags=[f"--max_users={max_users}"],
    )
    logging.info("The server is ready after %.1f s", time.monotonic() - start)
    return server


def _wrk(
    config: ServingBenchmarkConfig, port: int, *, connections: int, seconds: int, share: float
) -> dict[str, Any]:
    """What wrk has measured; it is one thread."""
    arguments = (config.num_users, config.num_tracks, share, _FIRST_LISTEN, config.seed)
    command = [
        *("wrk", "--threads=1", f"--connections={connections}", f"--duration={seconds}s"),
        *("--timeout=30s", f"--script={_SCRIPT}", f"http://127.0.0.1:{port}/", "--"),
        *map(str, arguments),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = _RESULT.search(done.stdout)
    if found is None:
        raise UserError(f"wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    result: dict[str, Any] = json.loads(found[1])
    return {"connections": connections, **result, "per_second": _rate(result)}


def _rate(result: dict[str, Any]) -> float:
    return float(result["requests"]) / float(result["seconds"])


def _load(config: ServingBenchmarkConfig) -> dict[str, Any]:
    results = []
    with _started(config, max_users=config.num_users) as server:
        warm_up = max(1, config.seconds // 4)
        _wrk(config, server.port, connections=8, seconds=warm_up, share=0.0)
        for connections in config.connections:
            found = _wrk(
                config,
                server.port,
                connections=connections,
                seconds=config.seconds,
                share=0.0,
            )
            logging.info("%s", found)
            results.append(found)
        memory = server.resident_bytes()
        code = server.end(signal.SIGTERM)
    return {
        "results": results,
        "resident_bytes": memory,
        "exit_code": code,
        "table": [
            ["connections", "requests/s", "p50", "p90", "p99", "not answered with 200"],
            *(
                [
                    str(found["connections"]),
                    f"{found['per_second']:.0f}",
                    *(f"{found[f'p{q}_ms']:.1f} ms" for q in (50, 90, 99)),
                    str(found["not_200"] + found["socket_errors"]),
                ]
                for found in results
            ),
        ],
    }


def _soak(config: ServingBenchmarkConfig) -> dict[str, Any]:
    """Rounds of a minute, and the memory after each; most users come from the store."""
    rounds: list[dict[str, Any]] = []
    with _started(config, max_users=max(1, config.num_users // _SOAKED_SHARE)) as server:
        for seconds in _parts(config.soak_seconds):
            found = _wrk(
                config,
                server.port,
                connections=8,
                seconds=seconds,
                share=config.share_of_listens,
            )
            found["resident_bytes"] = server.resident_bytes()
            metrics = server.metrics()
            found["users_in_memory"] = metrics["cosernn_users_in_memory"]
            found["loads"] = metrics["cosernn_user_loads_total"]
            logging.info("%s", found)
            rounds.append(found)
        code = server.end(signal.SIGTERM)
    return {
        "rounds": rounds,
        "exit_code": code,
        "table": [
            [
                "minute",
                "requests/s",
                "p99",
                "not answered with 200",
                "users in memory",
                "loaded",
                "resident",
            ],
            *(
                [
                    str(number),
                    f"{found['per_second']:.0f}",
                    f"{found['p99_ms']:.1f} ms",
                    str(found["not_200"] + found["socket_errors"]),
                    f"{found['users_in_memory']:.0f}",
                    f"{found['loads']:.0f}",
                    f"{found['resident_bytes'] / _MB:.0f} MB",
                ]
                for number, found in enumerate(rounds, start=1)
            ),
        ],
    }


def _parts(seconds: int) -> Sequence[int]:
    whole, rest = divmod(seconds, _SAMPLE_SECONDS)
    return [_SAMPLE_SECONDS] * whole + [rest] * bool(rest)


# Kills -------------------------------------------------------------------------------------------


def _kill(config: ServingBenchmarkConfig) -> dict[str, Any]:
    """Of a small workspace: a large one would start longer, and nothing else."""
    from benchmarks.serving_kill import KillConfig, kill_under_load
    from benchmarks.serving_workspace import ServingWorkspaceConfig, make_served

    size = ServingWorkspaceConfig(
        num_users=min(config.num_users, 2_000),
        num_tracks=min(config.num_tracks, 10_000),
        lstm_units=config.lstm_units,
        seed=config.seed,
    )
    workspace, run = make_served(config.directory, size)
    folder = config.directory / "serving-kill"
    shutil.rmtree(folder, ignore_errors=True)
    result = kill_under_load(
        KillConfig(workspace.root, run, folder, kills=config.kills, seed=config.seed)
    ).to_dict()
    names = {name: name.replace("_", " ") for name in result}
    return {"result": result, "table": [list(names.values()), list(map(str, result.values()))]}
