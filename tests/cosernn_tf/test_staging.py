"""Outputs replace older ones whole or not at all, whatever happens to their job."""

import contextlib
import errno
import itertools
import os
import platform
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from cosernn_tf import staging as module
from cosernn_tf.errors import UserError
from cosernn_tf.staging import DISK_TROUBLES, staged
from cosernn_tf.workspace import SUCCESS

HOST = platform.node()


def write(final: Path, text: str, **options) -> None:
    with staged(final, **options) as staging:
        (staging / text).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_output_replaces_the_older_one_whole(tmp_path):
    final = tmp_path / "deep" / "down" / "out"
    write(final, "first")
    assert names(final) == [SUCCESS, "first"]
    write(final, "second")
    assert names(final) == [SUCCESS, "second"]
    assert names(final.parent) == ["out"]


def test_nothing_is_seen_before_the_block_ends(tmp_path):
    final = tmp_path / "out"
    with staged(final) as staging:
        assert not final.exists()
        assert names(staging) == []
        (staging / "a").mkdir()
    write_older = names(final)
    with staged(final):
        assert names(final) == write_older == [SUCCESS, "a"]


@pytest.mark.parametrize("error", [ValueError, UserError, KeyboardInterrupt])
def test_a_failure_leaves_the_older_output(tmp_path, error):
    final = tmp_path / "out"

    def fail() -> None:
        with staged(final) as staging:
            (staging / "half").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []
    write(final, "older")
    with pytest.raises(error):
        fail()
    assert names(final) == [SUCCESS, "older"]
    assert names(tmp_path) == ["out"]


def test_what_a_link_leads_to_is_replaced(tmp_path):
    disk = tmp_path / "disk"
    write(disk / "out", "first")
    (tmp_path / "link").symlink_to(disk / "out")
    write(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink()
    assert names(disk / "out") == [SUCCESS, "second"]


def test_only_an_older_output_is_replaced(tmp_path):
    final = tmp_path / "out"
    final.mkdir()
    write(final, "into an empty one")
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"thesis exists and is not an older output .* no _SUCCESS"):
        write(foreign, "x")
    with pytest.raises(UserError, match=r"tex exists and is not an older output"):
        write(foreign / "thesis.tex", "x")
    # Another job's output has no file of that name.
    with pytest.raises(UserError, match=r"out exists .* no metrics.json"):
        write(final, "x", marker="metrics.json")
    write(tmp_path / "evaluation", "metrics.json", marker="metrics.json")
    write(tmp_path / "evaluation", "metrics.json", marker="metrics.json")
    assert names(foreign) == ["thesis.tex"]
    assert names(tmp_path) == ["evaluation", "out", "thesis"]


def test_a_place_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    for final in (tmp_path / "file" / "out", tmp_path / "file" / "deep" / "out"):
        with pytest.raises(UserError, match=rf"{final} cannot be written .*Not a directory"):
            write(final, "x")


def finished_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    final = tmp_path / "out"
    write(final, "older")
    dead, alive = finished_pid(), os.getppid()
    leftovers = [f".out.staging-{HOST}-{dead}", f".out.old-{HOST}-{dead}"]
    # A live process, another host, other outputs, no process.
    kept = [
        f".out.staging-{HOST}-{alive}",
        f".out.old-{HOST}-{alive}",
        f".out.staging-another-{HOST}-{dead}",
        f".output.staging-{HOST}-{dead}",
        f".out.staging-{HOST}-x{dead}",
        ".out.staging",
    ]
    for name in (*leftovers, *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").touch()
    write(final, "newer")
    assert names(tmp_path) == sorted([*kept, "out"])


def test_an_output_that_a_killed_process_had_set_aside_returns(tmp_path):
    final = tmp_path / "out"
    write(final, "older")
    final.rename(tmp_path / f".out.old-{HOST}-{finished_pid()}")
    (tmp_path / f".out.staging-{HOST}-{finished_pid()}").mkdir()
    with pytest.raises(ZeroDivisionError), staged(final):
        raise ZeroDivisionError
    assert names(final) == [SUCCESS, "older"]
    assert names(tmp_path) == ["out"]


def test_a_process_that_is_killed_leaves_the_older_output(tmp_path):
    final = tmp_path / "out"
    write(final, "older")
    code = """
        import sys, time
        from pathlib import Path
        from cosernn_tf.staging import staged
        with staged(Path(sys.argv[1])) as staging:
            (staging / "half").touch()
            print(flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(final)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        of_killed = f".out.staging-{HOST}-{process.pid}"
        # While it is alive, others leave its directory alone.
        write(final, "meanwhile")
        assert names(tmp_path) == [of_killed, "out"]
        process.send_signal(signal.SIGKILL)
    assert names(final) == [SUCCESS, "meanwhile"]
    write(final, "later")
    assert names(tmp_path) == ["out"]
    assert names(final) == [SUCCESS, "later"]


def test_processes_that_write_the_same_output_at_once(tmp_path):
    final = tmp_path / "out"
    code = """
        import sys
        from pathlib import Path
        from cosernn_tf.staging import staged
        for number in range(200):
            with staged(Path(sys.argv[1])) as staging:
                for part in ("a", "b"):
                    (staging / part).write_text(f"{sys.argv[2]} {number}")
    """
    writers = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(final), str(writer)])
        for writer in range(3)
    ]
    seen = set()
    while not final.exists():
        time.sleep(0.001)
    while any(writer.poll() is None for writer in writers):
        assert final.is_dir(), "a reader may come at any time"
        with contextlib.suppress(FileNotFoundError):  # of the older output, which is being removed
            seen.add((final / "a").read_text().split()[0])
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1
    assert names(tmp_path) == ["out"]
    assert (final / "a").read_text() == (final / "b").read_text()
    assert (final / "a").read_text().endswith(" 199")


def test_where_nothing_can_be_swapped_the_older_output_returns_if_the_newer_does_not_come(
    tmp_path, monkeypatch
):
    final = tmp_path / "out"
    monkeypatch.setattr(module, "_exchange", lambda one, other: False)
    write(final, "first")
    write(final, "second")
    assert names(final) == [SUCCESS, "second"]
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if target == final and ".staging-" in path.name:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        write(final, "third")
    assert names(final) == [SUCCESS, "second"]
    assert names(tmp_path) == ["out"]


# Disks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", DISK_TROUBLES)
def test_what_is_wrong_with_a_disk_is_said_in_one_line(tmp_path, number):
    final = tmp_path / "out"
    write(final, "older")

    def fail() -> None:
        with staged(final) as staging:
            (staging / "half").write_bytes(bytes(3_000_000))
            raise OSError(number, os.strerror(number))

    with pytest.raises(UserError, match=rf"{final} could not be written: .*3\.0 MB") as error:
        fail()
    assert DISK_TROUBLES[number] in str(error.value)
    assert names(final) == [SUCCESS, "older"]
    assert names(tmp_path) == ["out"]


def test_another_error_of_the_system_is_a_bug(tmp_path):
    def fail() -> None:
        with staged(tmp_path / "out"):
            raise OSError(errno.ENOTEMPTY, "why?")

    with pytest.raises(OSError, match=r"why\?"):
        fail()
    assert names(tmp_path) == []


def test_a_limit_to_the_size_of_files(tmp_path):
    final = tmp_path / "out"
    write(final, "older")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(UserError, match="`ulimit -f` lets it be"), staged(final) as staging:
            (staging / "half").write_bytes(bytes(2_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(final) == [SUCCESS, "older"]


def test_threads_that_still_write_do_not_keep_a_staging_directory(tmp_path):
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def fill(staging: Path) -> None:
        for number in itertools.takewhile(lambda _: not stop.is_set(), itertools.count()):
            with contextlib.suppress(FileNotFoundError):
                (staging / "spill" / str(number)).touch()

    def fail() -> None:
        with staged(tmp_path / "out") as staging:
            (staging / "spill").mkdir()
            threads.extend(threading.Thread(target=fill, args=[staging]) for _ in range(2))
            for thread in threads:
                thread.start()
            time.sleep(0.1)
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            fail()
        assert names(tmp_path) == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
