"""Where figures come from, told of this machine and of ones that say less."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from cosernn_tf import provenance


def test_this_machine():
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    found = provenance.describe_machine(("numpy",))
    assert before <= datetime.datetime.fromisoformat(found["time"])
    assert found["packages"] == {"numpy": np.__version__}
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    version = ".".join(map(str, sys.version_info[:3]))
    line = provenance.in_one_line(found)
    assert f"{found['cores']} cores" in line
    assert f"load {found['load']:.1f} in the minute before; " in line
    assert f"Python {version}, numpy {np.__version__}; commit " in line


def test_the_commit_is_that_of_the_code(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.describe_machine()["commit"] == "unknown"
    git("init", "--quiet")
    file = tmp_path / "file"
    file.write_text("as committed")
    git("add", "file")
    git("commit", "--quiet", "--message=first")
    commit = git("rev-parse", "HEAD")[:12]
    found = provenance.describe_machine()
    assert (found["commit"], found["changed"]) == (commit, False)
    file.write_text("changed")
    found = provenance.describe_machine()
    assert (found["commit"], found["changed"]) == (commit, True)
    assert provenance.in_one_line(found).endswith(f"commit {commit} with changes.")


def test_what_a_system_does_not_say(monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda _: False)
    found = provenance.describe_machine()
    assert (found["cpu"], found["memory_bytes"]) == ("unknown", None)
    assert "memory unknown" in provenance.in_one_line(found)
