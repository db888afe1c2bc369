"""What is measured of a command is what it took."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.measure import Measurement, measure
from cosernn_tf.errors import UserError

MEGA = 10**6
# Written to, so that it is resident, and held for long enough to be seen.
_HOLD = "import time; held = bytearray(b'x') * {bytes}; time.sleep(0.3)"


def run(code: str, folder: Path) -> Measurement:
    return measure([sys.executable, "-c", code], folder=folder, log=folder / "log")


@pytest.fixture(scope="module")
def idle(tmp_path_factory) -> Measurement:
    """The least: an interpreter, and what this process itself has."""
    return run("import time; time.sleep(0.3)", tmp_path_factory.mktemp("idle"))


def test_time(tmp_path):
    before = time.monotonic()
    found = run("import time; time.sleep(0.4)", tmp_path)
    assert 0.4 <= found.wall_seconds <= time.monotonic() - before
    assert found.cpu_seconds < 0.3
    code = "import time\nwhile time.process_time() < 0.4: pass"
    assert run(code, tmp_path).cpu_seconds >= 0.4


def test_memory_of_a_process_also_when_it_has_given_it_back(tmp_path, idle):
    more = idle.peak_bytes + 100 * MEGA
    code = f"import time; held = bytearray(b'x') * {more}; del held; time.sleep(0.3)"
    found = run(code, tmp_path)
    assert more < found.peak_bytes < more + 50 * MEGA


def test_memory_of_processes_adds_up(tmp_path, idle):
    each = (idle.peak_bytes + 150 * MEGA) // 2
    # Each holds its own until both have theirs, however long that takes.
    child = f"held = bytearray(b'x') * {each}; print(flush=True); input()"
    code = f"""
import subprocess, sys, time
pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
children = [subprocess.Popen([sys.executable, "-c", {child!r}], **pipes) for _ in range(2)]
for process in children:
    process.stdout.readline()
time.sleep(0.5)
for process in children:
    process.communicate(b"\\n")
"""
    found = run(code, tmp_path)
    assert found.peak_bytes > 2 * each > idle.peak_bytes + 100 * MEGA


def test_memory_of_threads_counts(tmp_path, idle):
    more = idle.peak_bytes + 100 * MEGA
    code = f"""
import threading
work = threading.Thread(target=exec, args=({_HOLD.format(bytes=more)!r},))
work.start()
work.join()
"""
    assert run(code, tmp_path).peak_bytes > more


def test_bytes_written_by_a_process_and_its_children(tmp_path):
    write = "open({name!r}, 'wb').write(bytes({bytes}))"
    child = write.format(name="child", bytes=3_000_000)
    code = f"""
import os, subprocess, sys
{write.format(name="own", bytes=1_000_000)}
os.remove("own")
subprocess.run([sys.executable, "-c", {child!r}])
"""
    assert run(code, tmp_path).written_bytes == pytest.approx(4_000_000, abs=10_000)


def test_a_command_that_fails_is_an_error_that_names_its_output(tmp_path):
    with pytest.raises(UserError, match=r"exit code 3; what it said is in .*log"):
        run("print('why'); raise SystemExit(3)", tmp_path)
    assert (tmp_path / "log").read_text() == "why\n"


def test_an_interrupted_measurement_ends_its_command(tmp_path):
    code = f"""
import os, signal, sys, threading
from pathlib import Path
from benchmarks.measure import measure

threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)"]
measure(command, folder=Path({str(tmp_path)!r}), log=Path({str(tmp_path / "log")!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "KeyboardInterrupt" in done.stderr
    pid = int((tmp_path / "log").read_text())
    assert not Path(f"/proc/{pid}").exists()
