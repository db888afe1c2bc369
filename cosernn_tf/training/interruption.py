"""Ctrl-C and SIGTERM, put off to a moment at which a run can be left."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Puts off the signals that stop a run until the block is through.

    What belongs together is so done as a whole: the weights never are those of one batch more than
    was counted. The handler that was there is called afterwards, whether or not the block raised.
    """
    if threading.current_thread() is not threading.main_thread():
        # Handlers run in the main thread only: nothing disturbs another one.
        yield
        return
    come: list[int] = []
    former = {
        number: signal.signal(number, lambda number, _: come.append(number))
        for number in STOP_SIGNALS
    }
    try:
        yield
    finally:
        _restore(former)
        if come:
            signal.raise_signal(come[0])


def _restore(handlers: dict[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        # None: it was not set from Python, which cannot set it again.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)
