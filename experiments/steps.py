"""Runs the project's commands one by one, and shows them."""

import contextlib
import csv
import ctypes
import io
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from cosernn_tf.errors import UserError

_PR_SET_PDEATHSIG: Final = 1
_SECONDS_TO_END: Final = 30


def command_line(module: str, arguments: Sequence[str]) -> str:
    """`python -m module arguments`, as a shell takes it."""
    return shlex.join(["python", "-m", module, *arguments])


def list_flag(name: str, values: Sequence[str]) -> str:
    """`--name=a,b`; what has a comma itself is quoted, as flags of lists expect."""
    text = io.StringIO()
    if values:
        csv.writer(text, lineterminator="").writerow(values)
    return f"--{name}={text.getvalue()}"


def run_step(title: str, module: str, arguments: Sequence[str]) -> None:
    """`python -m module arguments`, under a heading.

    Raises:
        UserError: It failed; it has said why.
    """
    with started_step(title, module, arguments) as process:
        code = process.wait()
    if code:
        raise UserError(f"{module} ended with exit code {code}; its message stands above")


@contextlib.contextmanager
def started_step(
    title: str, module: str, arguments: Sequence[str], *, stderr: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of `python -m module arguments`, under a heading; it ends with the block.

    It ends with this process, too, however that ends: a command given again after a kill must not
    find the one before still writing.

    Args:
        title: The heading.
        module: An entry point.
        arguments: Its flags.
        stderr: As `subprocess` has it; None: this process' own.
    """
    print(f"\n== {title}\n$ {command_line(module, arguments)}", flush=True)
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stderr=stderr, preexec_fn=_end_with_parent)
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stops it, unless it has ended; it may clean up."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
