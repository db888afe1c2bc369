"""A server as a process of its own, and plain requests to it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from cosernn_tf.errors import UserError

_SECONDS_TO_START: Final = 1_800
_POLL_SECONDS: Final = 0.02
_LISTENING: Final = re.compile(r"^Listening at http://127\.0\.0\.1:(\d+)/", re.MULTILINE)


class Client:
    """One connection, kept alive; every request is answered or raises `OSError`."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str) -> tuple[int, Any]:
        """Status, and what the JSON of the answer says."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, content: Any) -> tuple[int, Any]:
        """The same, with a body."""
        headers = {"Content-Type": "application/json"}
        return self._ask("POST", path, json.dumps(content).encode(), headers)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Any]:
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except http.client.HTTPException as error:
            raise OSError(f"no whole answer: {error!r}") from error

    def close(self) -> None:
        self._connection.close()


class Process(Protocol):
    """What of `subprocess.Popen` is asked for."""

    pid: int

    def poll(self) -> int | None: ...

    def send_signal(self, sig: int) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


Launch = Callable[[Sequence[str], Path], Process]
"""Starts `python -m cosernn_tf.serve` with arguments; what it prints goes to the file."""


def spawn(arguments: Sequence[str], output: Path) -> Process:
    """A process with an interpreter of its own."""
    command = [sys.executable, "-m", "cosernn_tf.serve", *arguments]
    with output.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


@dataclass(frozen=True)
class ServerProcess:
    """`python -m cosernn_tf.serve`, ready."""

    process: Process
    port: int
    output: Path
    """What it prints, both streams."""

    @classmethod
    def start(
        cls,
        workspace: Path,
        run: str,
        *,
        store: str,
        output: Path,
        flags: Sequence[str] = (),
        launch: Launch = spawn,
    ) -> "ServerProcess":
        """Starts one on a free port of this machine, and waits until it is ready.

        Args:
            workspace: With the run.
            run: Its name.
            store: See `--store`.
            output: File for what it prints.
            flags: More of them.
            launch: How the process is started.

        Raises:
            UserError: It ends before it is ready.
        """
        options = {"workspace": workspace, "run": run, "store": store, "port": 0}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        process = launch([*arguments, *flags], output)
        started = time.monotonic()
        try:
            while True:
                text = output.read_text("utf-8", "replace")
                found = _LISTENING.search(text)
                if found and "\nReady: " in text:
                    return cls(process, int(found[1]), output)
                if process.poll() is not None:
                    raise UserError(f"the server ended before it was ready: {text[-1000:]}")
                if time.monotonic() - started > _SECONDS_TO_START:
                    raise UserError(f"the server is not ready after {_SECONDS_TO_START} s")
                time.sleep(_POLL_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise

    def client(self) -> Client:
        return Client(self.port)

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def resident_bytes(self) -> int:
        """Memory of the process, mapped files included."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal, waits, and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=120)

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
