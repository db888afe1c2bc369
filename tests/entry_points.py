"""Runs entry points as a user would: a process each, in a folder of its own."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_FORKS = textwrap.dedent(
    """
    import json, os, runpy, sys
    from importlib import import_module

    job = json.load(sys.stdin)
    for name in job["preload"]:
        import_module(name)
    for number, arguments in enumerate(job["calls"]):
        child = os.fork()
        if child == 0:
            for stream, name in ((1, "stdout"), (2, "stderr")):
                file = os.open(f"{job['output']}/{number}.{name}", os.O_WRONLY | os.O_CREAT)
                os.dup2(file, stream)
            sys.argv = [job["module"], *arguments]
            # As at the top of a process: an exit or an error ends this one.
            runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
            sys.exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(f"{job['output']}/{number}.code", "w") as file:
            file.write(str(code))
    """
)


@dataclass(frozen=True)
class Result:
    """How a call ended, and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that a user sees, without the prefix; fails if there is not just one."""
        assert "Traceback" not in self.stderr, self.stderr
        errors = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, self.stderr
        return errors[0].removeprefix("error: ")


def run(module: str, arguments: Sequence[object], *, folder: Path, timeout: int = 300) -> Result:
    """`python -m module arguments`, in `folder`."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def run_each(
    module: str,
    calls: Sequence[Sequence[object]],
    *,
    folder: Path,
    output: Path,
    preload: Sequence[str],
) -> list[Result]:
    """`python -m module` with each list of arguments, in `folder`.

    Every call is a process of its own, forked from one that has imported the modules of `preload`
    and nothing else, since the imports would take more time than the calls.
    """
    output.mkdir(parents=True)
    job = {
        "module": module,
        "calls": [list(map(str, arguments)) for arguments in calls],
        "output": str(output),
        "preload": list(preload),
    }
    subprocess.run(
        [sys.executable, "-c", _FORKS],
        input=json.dumps(job),
        cwd=folder,
        text=True,
        timeout=300,
        check=True,
    )
    return [
        Result(
            int((output / f"{number}.code").read_text()),
            (output / f"{number}.stdout").read_text(encoding="utf-8"),
            (output / f"{number}.stderr").read_text(encoding="utf-8"),
        )
        for number in range(len(calls))
    ]
