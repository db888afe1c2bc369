"""Where something was measured: without it a figure means nothing."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("apache-beam", "numpy", "polars", "pyarrow")

ROOT: Final = Path(__file__).parent.parent


def describe_machine(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Processor, memory, versions and commit; the load says whether others were at work, too."""
    return {
        "cpu": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": 1_024 * int(_field(Path("/proc/meminfo"), "MemTotal").split()[0]),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "load": os.getloadavg()[0],
    }


def in_one_line(machine: dict[str, Any]) -> str:
    """For above a table."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    commit = machine["commit"] + " with changes" * machine["changed"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"load {machine['load']:.1f} before; Linux {machine['kernel']}, Python "
        f"{machine['python']}, {versions}; commit {commit}."
    )


def _field(path: Path, name: str) -> str:
    """The first value of a field of a file of lines `name : value`."""
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"
