"""What every entry point shares: `--workspace`, and errors as one line with exit code 2.

A job that is stopped (Ctrl-C, SIGTERM) cleans up, says so in one line, and exits as shells have it:
with 128 and the signal's number.
"""

import atexit
import functools
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from cosernn_tf.errors import UserError

USER_ERROR_EXIT_CODE = 2

WORKSPACE = flags.DEFINE_string(
    "workspace", "workspace", "Directory that all jobs read and write (see WORKSPACE.md)."
)


def _parse_flags(argv: list[str], *, known_only: bool) -> list[str]:
    """Parses flags as `app.run` does by default, but ends with our exit code for a bad one."""
    try:
        return list(flags.FLAGS(argv, known_only=known_only))
    except flags.Error as error:
        _fail(f"{error} (--help lists the flags)")


def _fail(message: str, code: int = USER_ERROR_EXIT_CODE) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    _exit_at_once(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which would otherwise leave no time to clean up."""


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # cleaning up is done once
    raise _Terminated


def _quieten_libraries() -> None:
    """Leaves the warnings of libraries, and takes what they tell of their own doings."""
    logging.getLogger("gensim").setLevel(logging.WARNING)
    # TensorFlow and Keras log through Abseil, as we do: only the place tells who speaks.
    folders = tuple(
        folder
        for library in ("keras", "tensorflow")
        if (found := importlib.util.find_spec(library)) is not None
        for folder in found.submodule_search_locations or ()
    )
    absl_logging.get_absl_handler().addFilter(
        lambda record: record.levelno >= logging.WARNING or not record.pathname.startswith(folders)
    )


def _exit_at_once(code: int = 0) -> NoReturn:
    """Ends the process before the interpreter takes its libraries apart.

    Threads of a job that has failed may still be at work, and on a busy machine the native threads
    of a library sometimes abort the process there ("terminate called without an active exception"),
    after all work is done and written.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(main: Callable[[list[str]], None], *, passes_unknown_flags: bool = False) -> None:
    """Runs `main(argv)` under absl; a `UserError` becomes one line on stderr and exit code 2.

    Args:
        main: Takes what remains of the command line.
        passes_unknown_flags: Leave unknown flags in `argv`, for `main` to check, instead of
            refusing them.
    """

    def guarded(argv: list[str]) -> None:
        if len(argv) > 1 and not passes_unknown_flags:
            _fail(f"unexpected argument {argv[1]!r}: every argument is a --flag (see --help)")
        _quieten_libraries()
        try:
            main(argv)
        except UserError as error:
            _fail(str(error))
        except KeyboardInterrupt as interruption:
            number = signal.SIGTERM if isinstance(interruption, _Terminated) else signal.SIGINT
            _fail(f"stopped by {number.name}: nothing is half written", 128 + number)
        _exit_at_once()

    # TensorFlow's notices at its start would drown what we say, the error that there is no GPU
    # among them. What goes wrong in an operation is an exception.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, _terminate)
    # Before parsing, so that --verbosity can still say otherwise.
    flags.FLAGS.set_default("verbosity", absl_logging.INFO)
    app.run(guarded, flags_parser=functools.partial(_parse_flags, known_only=passes_unknown_flags))
