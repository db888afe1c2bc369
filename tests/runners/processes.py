"""Servers that a test starts on this machine alone, and ends whatever happens."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

HOST = "127.0.0.1"
_END_SECONDS = 10
_SET_PARENT_DEATH_SIGNAL = 1
_T = TypeVar("_T")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as server:
        server.bind((HOST, 0))
        port: int = server.getsockname()[1]
        return port


@dataclass(frozen=True)
class Server:
    """A process, with those that it starts, and the file of all that they print."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises with the end of what was printed if the process is gone."""
        if self.process.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()
            tail = "\n".join(lines[-20:])
            raise RuntimeError(
                f"{self.name} ended with {self.process.returncode}; {self.log} ends with:\n{tail}"
            )

    def end(self) -> None:
        """Ends the process and all of its group, at once if asking does not help."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            # The leader may be gone, and others of its group not.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_END_SECONDS)


def _end_with_parent() -> None:
    """Has the kernel end this process when the tests are killed."""
    ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


@contextlib.contextmanager
def server(name: str, command: Sequence[object], *, folder: Path) -> Iterator[Server]:
    """Runs a command until the block ends; it prints to `folder`/`name`.log."""
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    started = Server(name, process, log)
    try:
        yield started
    finally:
        started.end()


def wait_for(
    what: str, ask: Callable[[], _T | None], servers: Sequence[Server], *, seconds: float = 180
) -> _T:
    """What `ask` gives, as soon as that is something; an `OSError` of it means not yet.

    Raises:
        RuntimeError: One of the servers ended.
        TimeoutError: It took too long.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in servers:
            one.check()
        with contextlib.suppress(OSError):
            answer = ask()
            if answer:
                return answer
        time.sleep(0.2)
    logs = ", ".join(str(one.log) for one in servers)
    raise TimeoutError(f"{what} did not come in {seconds:.0f} s: see {logs}")


def accepts_connections(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True
