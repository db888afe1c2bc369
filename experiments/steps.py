"""Runs the project's commands one by one, and shows them."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from cosernn_tf.errors import UserError

_PR_SET_PDEATHSIG: Final = 1


def run_step(title: str, module: str, arguments: Sequence[str]) -> None:
    """`python -m module arguments`, under a heading.

    It ends with this process, however that ends: a command given again after a kill must not find
    the one before still writing.

    Raises:
        UserError: It failed; it has said why.
    """
    print(f"\n== {title}\n$ python -m {module} {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", module, *arguments]
    code = subprocess.run(command, check=False, preexec_fn=_end_with_parent).returncode
    if code:
        raise UserError(f"{module} ended with exit code {code}; its message stands above")


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
