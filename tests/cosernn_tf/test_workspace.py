"""Outputs replace older ones whole or not at all; foreign and damaged directories are refused."""

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.schema import DEVICES
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    MANIFEST,
    STREAM_SOURCE_VOCABULARY,
    SUCCESS,
    TRACK_VOCABULARY,
    VOCABULARIES,
    Manifest,
    Workspace,
    check_sha256,
    open_sessions,
    sha256,
    staged,
)
from tests.workspaces import STREAM_SOURCES, random_table, write_sessions

HOST = platform.node()


def write(final: Path, text: str, **options) -> None:
    with staged(final, **options) as staging:
        (staging / text).write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Staging -----------------------------------------------------------------------------------------


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
        from cosernn_tf.workspace import staged
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
        from cosernn_tf.workspace import staged
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
    while any(writer.poll() is None for writer in writers):
        try:
            seen.add((final / "a").read_text().split()[0])
        except FileNotFoundError:
            time.sleep(0.001)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert len(seen) > 1
    assert names(tmp_path) == ["out"]
    assert (final / "a").read_text() == (final / "b").read_text()
    assert (final / "a").read_text().endswith(" 199")


# Session sequences -------------------------------------------------------------------------------


@pytest.fixture
def sessions(tmp_path) -> Path:
    path = Workspace(tmp_path / "ws").sessions
    write_sessions(path, random_table(num_users=3))
    return path


def edit_manifest(path: Path, **fields) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, **fields}))


def test_opens_what_was_written(sessions):
    opened = open_sessions(sessions)
    assert opened.devices == DEVICES
    assert opened.stream_sources == STREAM_SOURCES
    assert opened.tracks.column_names == ["track_id", "train_listens"]
    assert opened.tracks.num_rows == 200
    manifest = opened.manifest
    assert Manifest.from_json(manifest.to_json(), where=sessions) == manifest
    assert manifest.split.test_start - manifest.split.validation_start == 5 * 86_400
    for name in VOCABULARIES:
        assert manifest.vocabularies[name] == sha256((sessions / name).read_bytes())


def test_a_line_of_a_vocabulary_ends_with_a_line_feed_only(sessions):
    lines = "unknown\nzwei\u2028teile\x1cdrei\r\n\nlast\n"
    (sessions / STREAM_SOURCE_VOCABULARY).write_bytes(lines.encode())
    vocabularies = dict(open_sessions(sessions).manifest.vocabularies)
    vocabularies[STREAM_SOURCE_VOCABULARY] = sha256(lines.encode())
    edit_manifest(sessions, vocabularies=vocabularies)
    assert open_sessions(sessions).stream_sources == (
        "unknown",
        "zwei\u2028teile\x1cdrei\r",
        "",
        "last",
    )


def test_the_checksum_is_of_what_later_jobs_read(sessions, tmp_path):
    expected = open_sessions(sessions).sha256
    again = write_sessions(tmp_path / "elsewhere", random_table(num_users=3))
    assert again.sha256 == expected
    edit_manifest(sessions, counters={"read": 3}, options={"listens": "/elsewhere"})
    assert open_sessions(sessions).sha256 == expected
    split = {"validation_start": 1, "test_start": again.manifest.split.test_start}
    edit_manifest(sessions, split=split)
    assert open_sessions(sessions).sha256 != expected
    other = write_sessions(tmp_path / "other", random_table(1, num_users=3))
    assert other.sha256 != expected


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.rename(path.with_name("x")), r"sessions does not exist: run beam_pipel"),
        (lambda path: (path / SUCCESS).unlink(), r"sessions has no _SUCCESS, so it is not a fin"),
        (lambda path: (path / MANIFEST).unlink(), r"sessions has no manifest.json, so it is not"),
        (lambda path: edit_manifest(path, schema_version=0), r"manifest.json has schema version 0"),
        (lambda path: edit_manifest(path, schema_version=2), r"version 2, this program reads 1"),
        (lambda path: edit_manifest(path, split={}), r"not a manifest \(TypeError"),
        (lambda path: edit_manifest(path, shards=[{"name": "a"}]), r"not a manifest \(TypeError"),
        (lambda path: edit_manifest(path, colour="blue"), r"not a manifest \(TypeError.*colour"),
        (lambda path: (path / MANIFEST).write_text("[1]"), r"not a manifest \(TypeError"),
        (lambda path: (path / MANIFEST).write_text("{}"), r"not a manifest .*schema_version"),
        (lambda path: (path / MANIFEST).write_text('{"a'), r"not a manifest \(JSONDecodeError"),
    ],
)
def test_refuses_what_is_no_finished_directory(sessions, spoil, message):
    spoil(sessions)
    with pytest.raises(UserError, match=message) as error:
        open_sessions(sessions)
    assert str(sessions) in str(error.value)
    assert "\n" not in str(error.value)
    assert "run beam_pipelines.sessionize" in str(error.value)


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        (TRACK_VOCABULARY, "tracks"),
        (DEVICE_VOCABULARY, "devices"),
        (STREAM_SOURCE_VOCABULARY, "stream_sources"),
    ],
)
def test_refuses_a_vocabulary_that_is_not_the_manifests(sessions, name, attribute):
    data = (sessions / name).read_bytes()
    (sessions / name).write_bytes(data + b"x")
    with pytest.raises(UserError, match=f"{name} does not have the checksum of its manifest"):
        getattr(open_sessions(sessions), attribute)
    (sessions / name).unlink()
    with pytest.raises(UserError, match=f"{name} does not exist: run beam_pipelines.sessionize"):
        getattr(open_sessions(sessions), attribute)
    (sessions / name).write_bytes(data)
    assert getattr(open_sessions(sessions), attribute)
    edit_manifest(sessions, vocabularies={})
    with pytest.raises(UserError, match=f"{name} does not exist"):
        getattr(open_sessions(sessions), attribute)


def test_checksums():
    assert sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    check_sha256(Path("file"), b"abc", sha256(b"abc"))
    with pytest.raises(UserError, match=r"^file does not have the checksum"):
        check_sha256(Path("file"), b"abd", sha256(b"abc"))


def test_paths_are_those_of_the_contract():
    workspace = Workspace(Path("ws"))
    assert [
        str(path)
        for path in (
            workspace.log,
            workspace.sessions,
            workspace.tracks,
            workspace.run("cosernn"),
            workspace.evaluation,
        )
    ] == ["ws/log", "ws/sessions", "ws/tracks", "ws/runs/cosernn", "ws/evaluation"]
    assert workspace.run("a").parent == workspace.runs
