"""Servers as processes that are forked from one that has imported TensorFlow."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.starter import Started, Starter

_PRELOAD = ("tensorflow", "keras", "cosernn_tf.serving.http.server", "cosernn_tf.serving.opening")
_OUTPUT = """
file = os.open({output!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for stream in (1, 2):
    os.dup2(file, stream)
os.environ.update({environment!r})
"""


class Forked:
    """A process, as `benchmarks.serving_process` takes it."""

    def __init__(self, started: Started) -> None:
        self._started = started
        self.pid = started.pid
        self._code: int | None = None

    def poll(self) -> int | None:
        state = Path(f"/proc/{self.pid}/stat")
        if self._code is None and state.read_text().rpartition(")")[2].split()[0] == "Z":
            self._code = int(self._started.starter.ask({"wait": self.pid}))
        return self._code

    def send_signal(self, sig: int) -> None:
        os.kill(self.pid, sig)

    def wait(self, timeout: float | None = None) -> int:
        end = time.monotonic() + (timeout or 600)
        while self.poll() is None:
            assert time.monotonic() < end, "it does not end"
            time.sleep(0.005)
        assert self._code is not None
        return self._code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """Starts them; `environment` is theirs."""

    def __init__(self, folder: Path) -> None:
        self._starter = Starter("cosernn_tf.serve", preload=_PRELOAD, folder=folder)
        self.environment: Mapping[str, str] = {}

    def __call__(self, arguments: Sequence[str], output: Path) -> Forked:
        output.write_bytes(b"")
        before = _OUTPUT.format(output=str(output), environment=dict(self.environment))
        return Forked(self._starter.start(arguments, before=before))

    def close(self) -> None:
        self._starter.close()
