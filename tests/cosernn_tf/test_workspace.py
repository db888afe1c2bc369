"""Outputs replace older ones whole or not at all; foreign and damaged directories are refused."""

import json
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
)
from tests.workspaces import STREAM_SOURCES, random_table, write_sessions

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
