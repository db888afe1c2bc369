"""Starts an entry point again and again, to be watched and killed: a process each, forked."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .entry_points import Result

_SECONDS_TO_WAIT = 600

_SERVER = textwrap.dedent(
    """
    import faulthandler, json, os, runpy, sys
    from importlib import import_module

    for name in json.loads(sys.stdin.readline()):
        import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        if "wait" in call:
            print(os.waitstatus_to_exitcode(os.waitpid(call["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child:
            os.setpgid(child, child)
        else:
            for stream, name in ((1, "stdout"), (2, "stderr")):
                file = os.open(call["output"] + name, os.O_WRONLY)
                os.dup2(file, stream)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            faulthandler.enable()
            exec(call["before"])
            sys.argv = [call["module"], *call["arguments"]]
            runpy.run_module(call["module"], run_name="__main__", alter_sys=True)
            sys.exit(0)
        print(child, flush=True)
    """
)


@dataclass(frozen=True)
class Started:
    """A process of its own group."""

    pid: int
    starter: "Starter"
    output: str

    @property
    def _state(self) -> str:
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    def halt_when(self, is_so: Callable[[], bool]) -> bool:
        """Halts it while it is so; False if it has ended, or it was so for too short a time."""
        self._wait_until(lambda: is_so() or self._state == "Z")
        if self._state == "Z":
            return False
        os.killpg(self.pid, signal.SIGSTOP)
        self._wait_until(lambda: self._state in "TZ")
        return is_so()

    def _wait_until(self, is_so: Callable[[], bool], *, every: float = 0.0005) -> None:
        """Looks at it every so many seconds."""
        end = time.monotonic() + _SECONDS_TO_WAIT
        while not is_so():
            if time.monotonic() > end:
                # Where its threads are, it then says.
                raise AssertionError(f"nothing happens: {self.end(signal.SIGABRT)}")
            time.sleep(every)

    def end(self, number: int) -> Result:
        """Sends a signal to the group, and waits."""
        os.killpg(self.pid, number)
        return self.wait()

    def go_on(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def wait(self) -> Result:
        self.go_on()
        self._wait_until(lambda: self._state == "Z", every=0.01)
        code = int(self.starter.ask({"wait": self.pid}))
        texts = [Path(self.output + name).read_text("utf-8") for name in ("stdout", "stderr")]
        return Result(code, *texts)


class Starter:
    """A process that has imported the modules of `preload`, and forks."""

    def __init__(self, module: str, *, preload: Sequence[str], folder: Path) -> None:
        self._module = module
        self._folder = folder
        self._number = 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder / "tmp")},
        )
        (folder / "tmp").mkdir()
        assert self.ask(preload) == "ready"

    def ask(self, call: object) -> str:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(call) + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline().strip()

    def start(
        self, arguments: Sequence[str], *, before: str = "", module: str | None = None
    ) -> Started:
        """`python -m module arguments`, after the code `before` in the same process.

        The module is the one of this starter unless told.
        """
        self._number += 1
        output = str(self._folder / f"{self._number}.")
        for name in ("stdout", "stderr"):  # it may be killed before it can
            Path(output + name).touch()
        call = {"module": module or self._module, "arguments": list(arguments)}
        return Started(int(self.ask({**call, "output": output, "before": before})), self, output)

    def close(self) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.communicate()
