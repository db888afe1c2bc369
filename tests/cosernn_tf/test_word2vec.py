"""Word2vec on sentences with a known structure, and where sentences come from."""

import gzip
import json

import numpy as np
import pytest

from cosernn_tf import word2vec
from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.errors import UserError
from cosernn_tf.word2vec import (
    PlaylistSentences,
    SessionSentences,
    train_vectors,
    vocabulary_vectors,
)
from tests.workspaces import random_table, split_of

CONFIG = EmbeddingConfig(epochs=30)
GROUPS = 4


def grouped_sentences(*, seed: int = 0) -> list[list[str]]:
    """Sentences of ten tracks of one of four groups; the tracks of one never meet another's."""
    random = np.random.default_rng(seed)
    return [
        [f"g{group}-{track}" for track in random.integers(0, 15, 10)]
        for group in random.integers(0, GROUPS, 600)
    ]


def write_lines(path, lines, *, compress=False):
    opener = gzip.open if compress else open
    with opener(path, "wb") as file:
        file.writelines(line.encode() + b"\n" for line in lines)
    return path


@pytest.fixture(scope="module")
def vectors():
    return train_vectors(grouped_sentences(), CONFIG)


def test_tracks_that_occur_together_are_closer(vectors):
    tracks = [f"g{group}-{track}" for group in range(GROUPS) for track in range(15)]
    embeddings = vocabulary_vectors(vectors, np.array(tracks, object))
    group = np.arange(len(tracks)) // 15
    cosines = embeddings @ embeddings.T
    same = group[:, None] == group
    np.fill_diagonal(same, False)
    assert cosines[same].min() > cosines[group[:, None] != group].max() + 0.2


def test_rows_are_unit_vectors_or_zero(vectors):
    tracks = np.array(["never heard", "g0-1", "g3-14"], object)
    embeddings = vocabulary_vectors(vectors, tracks)
    assert embeddings.shape == (3, 40)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), [0.0, 1.0, 1.0], atol=1e-6)
    expected = vectors["g3-14"] / np.linalg.norm(vectors["g3-14"])
    np.testing.assert_allclose(embeddings[2], expected, atol=1e-6)


def test_one_seed_gives_one_result(vectors):
    again = train_vectors(grouped_sentences(), CONFIG)
    assert again.index_to_key == vectors.index_to_key
    assert again.vectors.tobytes() == vectors.vectors.tobytes()
    other = train_vectors(grouped_sentences(), EmbeddingConfig(epochs=30, seed=2))
    assert other.vectors.tobytes() != vectors.vectors.tobytes()


def test_rare_tracks_have_no_vector():
    sentences = [["a", "b", "c"], ["a", "b"], ["a"]]
    found = train_vectors(sentences, EmbeddingConfig(epochs=1, min_count=2))
    assert set(found.key_to_index) == {"a", "b"}
    with pytest.raises(UserError, match="no track occurs at least --min_count=4 times"):
        train_vectors(sentences, EmbeddingConfig(min_count=4))
    with pytest.raises(UserError, match="no track occurs"):
        train_vectors([], CONFIG)


PLAYLISTS = [["a", "b"], [], ["å", "b", "b"]]
LINES = [json.dumps({"playlist_id": "p", "track_ids": tracks}) for tracks in PLAYLISTS]


@pytest.mark.parametrize("compress", [False, True])
def test_playlists_are_sentences_in_every_epoch(tmp_path, compress):
    name = "playlists.jsonl.gz" if compress else "playlists.jsonl"
    sentences = PlaylistSentences(write_lines(tmp_path / name, LINES, compress=compress))
    for _ in range(2):
        assert list(sentences) == [["a", "b"], ["å", "b", "b"]]


def test_long_playlists_are_cut_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(word2vec, "_MAX_WORDS_PER_SENTENCE", 2)
    path = write_lines(tmp_path / "playlists.jsonl", ['{"track_ids": ["a", "b", "c", "d", "e"]}'])
    assert list(PlaylistSentences(path)) == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "JSONDecodeError"),
        ("", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"tracks": []}', "KeyError"),
        ('{"track_ids": "abc"}', "not a list of strings"),
        ('{"track_ids": ["a", 1]}', "not a list of strings"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    path = write_lines(tmp_path / "playlists.jsonl", [LINES[0], line, LINES[2]])
    with pytest.raises(UserError, match=rf"playlists\.jsonl, line 2: .*{problem}.*; a line is"):
        list(PlaylistSentences(path))


def test_a_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "playlists.jsonl"
    path.write_bytes(b'{"track_ids": ["\xff"]}\n')
    with pytest.raises(UserError, match="line 1: UnicodeDecodeError"):
        list(PlaylistSentences(path))


def test_files_that_are_missing_cut_short_or_not_gzip(tmp_path):
    with pytest.raises(UserError, match=r"--playlists=.*missing does not exist"):
        PlaylistSentences(tmp_path / "missing")
    path = write_lines(tmp_path / "p.jsonl.gz", 1000 * LINES, compress=True)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"p\.jsonl\.gz cannot be read after line \d+"):
        list(PlaylistSentences(path))
    path = write_lines(tmp_path / "plain.gz", LINES)
    with pytest.raises(UserError, match=r"plain\.gz cannot be read after line 0"):
        list(PlaylistSentences(path))


def test_sentences_are_sessions_of_the_training_split():
    table = random_table(7, num_tracks=60)
    track_ids = np.array([f"track-{row}" for row in range(60)], object)
    split = split_of(table)
    found = list(SessionSentences([table, table], track_ids, split))
    expected = [
        [f"track-{track}" for track in tracks if track >= 0]
        for tracks, time in zip(table.track, table.session_start, strict=True)
        if time < split.validation_start
    ]
    assert found == 2 * expected
    assert 0 < len(expected) < table.num_sessions
