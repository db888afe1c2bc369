"""When, where and with what something was computed: without it a figure means nothing."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("keras", "numpy", "tensorflow")

ROOT: Final = Path(__file__).parent.parent
"""Of the checkout that this code is in, if it is in one."""

_UNKNOWN: Final = "unknown"


def describe_machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Time (RFC 3339), processor, memory, versions and commit.

    The load, of the last minute, says whether others were at work, too.
    """
    memory = _field(Path("/proc/meminfo"), "MemTotal")
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": None if memory == _UNKNOWN else 1_024 * int(memory.split()[0]),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": _git("status", "--porcelain", "--untracked-files=no") not in ("", _UNKNOWN),
        "load": os.getloadavg()[0],
    }


def in_one_line(machine: dict[str, Any]) -> str:
    """For above a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    commit = machine["commit"] + " with changes" * machine["changed"]
    memory = machine["memory_bytes"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, "
        f"{'memory unknown' if memory is None else f'{memory / 2**30:.0f} GiB'}, "
        f"load {machine['load']:.1f} in the minute before; Linux {machine['kernel']}, Python "
        f"{machine['python']}, {versions}; commit {commit}."
    )


def _field(path: Path, name: str) -> str:
    """The first value of a field of a file of lines `name : value`."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return _UNKNOWN


def _git(*arguments: str) -> str:
    if not (ROOT / ".git").exists():  # Installed elsewhere: another repository may be around it.
        return _UNKNOWN
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return _UNKNOWN
    return done.stdout.strip() if done.returncode == 0 else _UNKNOWN
