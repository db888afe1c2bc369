"""What a runner makes of errors: one of the disk is found in it, and it is told once."""

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from typing import Final, TextIO

from cosernn_tf.errors import UserError
from cosernn_tf.staging import DISK_TROUBLES

_ERRNO: Final = re.compile(r"\[errno (\d+)\]", re.IGNORECASE)
_TRACEBACK: Final = "Traceback (most recent call last)"


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Lets errors of steps be raised, not logged and printed before.

    Raises:
        OSError: One of `DISK_TROUBLES` that a step has met. Runners run steps in threads and in
            other processes, and hand on the text of their errors only.
    """
    logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)
    # Arrow's parser of CSV complains of a row that it cannot show, and has the file fail for it.
    before, sys.unraisablehook = sys.unraisablehook, _leave_out_unicode
    stderr = _WithoutTracebacks(sys.stderr)
    try:
        with contextlib.redirect_stderr(stderr):
            yield
    except UserError:
        raise
    except KeyboardInterrupt:
        # Steps in threads go on, and fail for want of a runner, until the process ends.
        sys.stderr = stderr
        raise
    except Exception as error:
        for number in map(int, _ERRNO.findall(str(error))):
            if number in DISK_TROUBLES:
                raise OSError(number, os.strerror(number)) from error
        raise
    finally:
        sys.unraisablehook = before


def _leave_out_unicode(error: "sys.UnraisableHookArgs") -> None:
    if not issubclass(error.exc_type, UnicodeDecodeError):
        sys.__unraisablehook__(error)


class _WithoutTracebacks(io.TextIOBase):
    """A stream that leaves out what is printed as a traceback."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._has_left_out = False

    def write(self, text: str) -> int:
        # The newline that `print` adds goes as well.
        leave_out = text.startswith(_TRACEBACK) or (self._has_left_out and text == "\n")
        self._has_left_out = leave_out and text != "\n"
        return len(text) if leave_out else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
