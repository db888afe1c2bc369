"""Track embeddings on disk: what is written is read, and what does not belong is refused."""

import json

import numpy as np
import pytest
from gensim.models import KeyedVectors

from cosernn_tf.errors import UserError
from cosernn_tf.tracks import (
    DESCRIPTION,
    EMBEDDINGS,
    KEYED_VECTORS,
    load_track_embeddings,
    save_track_embeddings,
)
from cosernn_tf.workspace import SUCCESS, SessionsDirectory, Workspace, open_sessions, sha256
from tests.workspaces import random_table, write_sessions, write_tracks


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    workspace = Workspace(tmp_path / "ws")
    write_tracks(workspace.tracks, write_sessions(workspace.sessions, random_table(num_users=3)))
    return workspace


@pytest.fixture
def sessions(workspace) -> SessionsDirectory:
    return open_sessions(workspace.sessions)


def test_what_is_written_is_read(workspace, sessions):
    written = write_tracks(workspace.tracks, sessions, seed=3)
    read = load_track_embeddings(workspace.tracks, sessions)
    np.testing.assert_array_equal(read.vectors, written.vectors)
    assert read.vectors.dtype == np.float32
    assert read.description == written.description
    assert read.sha256 == written.sha256 == sha256(written.vectors.tobytes())
    assert {path.name for path in workspace.tracks.iterdir()} == {
        SUCCESS,
        EMBEDDINGS,
        DESCRIPTION,
        KEYED_VECTORS,
    }
    # The vectors by track id, for gensim; those without an embedding are not there.
    keyed = KeyedVectors.load(str(workspace.tracks / KEYED_VECTORS))
    track_ids = sessions.tracks["track_id"].to_pylist()
    assert len(keyed) == np.count_nonzero(written.vectors.any(axis=1)) < len(track_ids)
    for row, track_id in enumerate(track_ids):
        if written.vectors[row].any():
            np.testing.assert_array_equal(keyed[track_id], written.vectors[row])
        else:
            assert track_id not in keyed


def test_the_checksum_is_of_the_vectors(workspace, sessions):
    one, other = (write_tracks(workspace.tracks, sessions, seed=seed) for seed in (1, 2))
    assert one.sha256 != other.sha256
    assert load_track_embeddings(workspace.tracks, sessions).sha256 == other.sha256


def test_embeddings_of_another_vocabulary(workspace, sessions, tmp_path):
    other = write_sessions(tmp_path / "other", random_table(1, num_users=3))
    with pytest.raises(UserError, match=r"tracks belong to another track vocabulary .*other: run"):
        load_track_embeddings(workspace.tracks, other)


def edit(path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / SUCCESS).unlink(), "has no track embeddings"),
        (lambda path: path.rename(path.with_name("x")), "has no track embeddings"),
        (lambda path: (path / EMBEDDINGS).unlink(), r"damaged \(FileNotFoundError"),
        (lambda path: (path / DESCRIPTION).unlink(), r"damaged \(FileNotFoundError"),
        (lambda path: (path / DESCRIPTION).write_text("{}"), r"damaged \(KeyError"),
        (lambda path: (path / DESCRIPTION).write_text("{"), r"damaged \(JSONDecodeError"),
        (lambda path: (path / EMBEDDINGS).write_bytes(b""), r"damaged \(EOFError"),
        (lambda path: (path / EMBEDDINGS).write_bytes(b"\x93NUMPY"), r"damaged \(ValueError"),
        (
            lambda path: np.save(path / EMBEDDINGS, np.load(path / EMBEDDINGS)[:-1]),
            r"damaged \(shape \(199, 40\), expected \(200, 40\)",
        ),
        (
            lambda path: np.save(path / EMBEDDINGS, 2 * np.load(path / EMBEDDINGS)),
            "damaged .* another checksum",
        ),
        (lambda path: edit(path / DESCRIPTION, embeddings_sha256="0"), "another checksum"),
    ],
)
def test_damaged_embeddings(workspace, sessions, spoil, message):
    load_track_embeddings(workspace.tracks, sessions)
    spoil(workspace.tracks)
    with pytest.raises(UserError, match=message) as error:
        load_track_embeddings(workspace.tracks, sessions)
    assert "run cosernn_tf.embed_tracks" in str(error.value)


def test_only_older_embeddings_are_replaced(workspace, sessions):
    embeddings = load_track_embeddings(workspace.tracks, sessions)
    with pytest.raises(UserError, match=r"sessions exists .* no embeddings.json"):
        save_track_embeddings(
            workspace.sessions,
            KeyedVectors(40),
            embeddings.vectors,
            description=embeddings.description,
        )
