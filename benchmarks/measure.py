"""What a command takes, from its start to its end: time, memory, bytes written."""

import os
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cosernn_tf.errors import UserError

_SAMPLE_SECONDS: Final = 0.05
_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Measurement:
    """A run of a command, its child processes included."""

    wall_seconds: float
    """By the monotonic clock, the interpreter's start included."""
    cpu_seconds: float
    """In user and system mode, of all threads."""
    peak_bytes: int
    """Resident memory: of one process the most that it ever had, as the kernel keeps it; of
    several at once the greatest sum seen, twenty times a second. Pages of mapped files count, and
    the caller's own are the least."""
    written_bytes: int
    """By calls that write, to wherever."""


def measure(command: Sequence[str], *, folder: Path, log: Path | None = None) -> Measurement:
    """Runs a command and waits for it.

    Args:
        command: The program and its arguments.
        folder: To run it in.
        log: File for what it prints; None leaves it on the terminal.

    Raises:
        UserError: It failed.
    """
    with open(log or os.devnull, "wb") as file:
        output: IO[bytes] | None = file if log else None
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
        sampler = _Sampler(process.pid)
        try:
            # Left unreaped, it still tells what it has written.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall_seconds = time.monotonic() - started
        sampled = sampler.stop()
        written = _written(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(
            f"{' '.join(command)} ended with exit code {process.returncode}; what it said is "
            + (f"in {log}" if log else "above")
        )
    return Measurement(
        wall_seconds=wall_seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=max(1_024 * usage.ru_maxrss, sampled),
        written_bytes=written,
    )


class _Sampler:
    """Looks at the memory of a process and its descendants again and again."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """The greatest sum seen, bytes."""
        self._done.set()
        self._thread.join()
        return self._peak

    def _run(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self._peak = max(self._peak, sum(map(_resident, _family(self._pid))))


def _family(pid: int) -> Iterator[int]:
    """A process and all of its descendants that are there."""
    yield pid
    for task in _PROC.glob(f"{pid}/task/*/children"):
        for child in _read(task).split():
            yield from _family(int(child))


def _resident(pid: int) -> int:
    pages = _read(_PROC / str(pid) / "statm").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _written(pid: int) -> int:
    """Bytes that a process and its children, as far as it has waited for them, have written."""
    fields = dict(line.split(": ") for line in _read(_PROC / str(pid) / "io").splitlines())
    return int(fields["wchar"])


def _read(path: Path) -> str:
    """Of /proc; nothing of what has ended meanwhile."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
