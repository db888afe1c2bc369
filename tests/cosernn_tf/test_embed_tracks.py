"""`cosernn_tf.embed_tracks`, as a library and as a user runs it."""

import json

import numpy as np
import pytest
from gensim.models import KeyedVectors

from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.dataset import read_all
from cosernn_tf.embedding import embed_tracks, playlists_sha256
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.workspace import open_sessions
from tests.entry_points import run_each
from tests.workspaces import NUM_CLUSTERS, random_table, write_sessions

MODULE = "cosernn_tf.embed_tracks"
CONFIG = EmbeddingConfig(epochs=30)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A workspace with session sequences only."""
    root = tmp_path_factory.mktemp("workspace")
    write_sessions(root / "sessions", random_table(0, sessions_per_user=80))
    return root


def write_playlists(path, *, clusters=(0, 2)):
    """Playlists of tracks of one cluster each."""
    random = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(200):
            cluster = clusters[number % len(clusters)]
            tracks = random.integers(0, 40, 12) * NUM_CLUSTERS + cluster
            line = {"playlist_id": str(number), "track_ids": [f"track-{t}" for t in tracks]}
            file.write(json.dumps(line) + "\n")
    return path


def test_sessions_are_the_sentences_without_playlists(root, tmp_path):
    sessions = open_sessions(root / "sessions")
    found = embed_tracks(sessions, playlists=None, output=tmp_path / "a", config=CONFIG)
    again = embed_tracks(sessions, playlists=None, output=tmp_path / "b", config=CONFIG)
    assert found.vectors.tobytes() == again.vectors.tobytes()
    for name in ("embeddings.npy", "embeddings.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = load_track_embeddings(tmp_path / "a", sessions)
    np.testing.assert_array_equal(loaded.vectors, found.vectors)

    table = read_all(sessions)
    training = table.track[table.session_start < sessions.manifest.split.validation_start]
    counts = np.bincount(training[training >= 0], minlength=len(found.vectors))
    embedded = found.vectors.any(axis=1)
    np.testing.assert_array_equal(embedded, counts >= CONFIG.min_count)
    np.testing.assert_allclose(np.linalg.norm(found.vectors[embedded], axis=1), 1.0, atol=1e-6)

    description = found.description
    assert description["sentences"] == "training-split sessions"
    assert description["tracks_embedded"] == embedded.sum()
    keyed = KeyedVectors.load(str(tmp_path / "a" / "vectors.kv"))
    row = int(np.flatnonzero(embedded)[0])
    vector = keyed[sessions.tracks["track_id"][row].as_py()]
    np.testing.assert_allclose(vector / np.linalg.norm(vector), found.vectors[row], atol=1e-6)


def test_playlists_are_the_sentences_if_given(root, tmp_path):
    sessions = open_sessions(root / "sessions")
    playlists = write_playlists(tmp_path / "playlists.jsonl")
    found = embed_tracks(sessions, playlists=playlists, output=tmp_path / "a", config=CONFIG)
    cluster = np.arange(len(found.vectors)) % NUM_CLUSTERS
    np.testing.assert_array_equal(found.vectors.any(axis=1), np.isin(cluster, (0, 2)))
    assert found.description["sentences"] == "playlists"
    assert found.description["playlists_sha256"] == playlists_sha256(playlists)
    first, other = found.vectors[cluster == 0], found.vectors[cluster == 2]
    assert (first @ first.T).mean() > (first @ other.T).mean() + 0.2


def test_as_a_user(root, tmp_path):
    playlists = write_playlists(tmp_path / "playlists.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"playlist_id": 1}\n')
    refused = {
        "--epochs=0 must be at least 1": ["--epochs=0"],
        "flag --epochs=many": ["--epochs=many"],
        "does not exist: run beam_pipelines.sessionize first": ["--workspace=nowhere"],
        "--playlists=missing.jsonl does not exist": ["--playlists=missing.jsonl"],
        "bad.jsonl, line 1: KeyError('track_ids')": ["--playlists=bad.jsonl"],
    }
    calls = [[f"--playlists={playlists}", "--epochs=2"], *refused.values()]
    done, *results = run_each(
        MODULE,
        [[f"--workspace={root}", *arguments] for arguments in calls],
        folder=tmp_path,
        output=tmp_path / "results",
        preload=["cosernn_tf.embedding"],
    )
    assert done.code == 0, done.stderr
    assert "Embedded 80 of 200 tracks from playlists" in done.stderr
    for message, result in zip(refused, results, strict=True):
        assert result.code == 2
        assert message in result.error
    # What was there is there still.
    found = load_track_embeddings(root / "tracks", open_sessions(root / "sessions"))
    assert found.description["options"]["epochs"] == 2
    assert found.description["playlists_sha256"] == playlists_sha256(playlists)
