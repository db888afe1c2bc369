"""Playlists in their formats; JSON Lines are tested with word2vec."""

import hashlib
import json
from pathlib import Path

import pytest

from cosernn_tf.embedding import playlists_sha256
from cosernn_tf.errors import UserError
from cosernn_tf.playlists import playlist_files
from cosernn_tf.word2vec import PlaylistSentences


def playlist(pid: int, *tracks: str) -> dict:
    """As in a slice."""
    return {
        "name": "musical",
        "collaborative": "false",
        "pid": pid,
        "modified_at": 1_493_424_000,
        "num_tracks": len(tracks),
        "num_followers": 1,
        "tracks": [
            {
                "pos": pos,
                "artist_name": "Degiheugi",
                "track_uri": f"spotify:track:{track}",
                "artist_uri": "spotify:artist:3V2paBXEoZIAfZRXrmo2jL",
                "track_name": "Finalement",
                "album_uri": "spotify:album:2KrRMJ9z7Xjoz1Az4O6UML",
                "duration_ms": 166_264,
                "album_name": "Dancing Chords and Fireflies",
            }
            for pos, track in enumerate(tracks)
        ],
    }


def write_slice(path: Path, *playlists: dict) -> Path:
    content = {
        "info": {"generated_on": "2017-12-03", "slice": "0-999", "version": "v1"},
        "playlists": list(playlists),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4))
    return path


def uris(text: str) -> list[str]:
    return [f"spotify:track:{letter}" for letter in text]


@pytest.fixture
def data(tmp_path) -> Path:
    """Slices whose names sort otherwise as text, and what stands beside them."""
    shuffled = playlist(2000, "d", "e", "f")
    shuffled["tracks"].reverse()
    write_slice(tmp_path / "data/mpd.slice.10000-10999.json", playlist(10_000, "g"))
    write_slice(tmp_path / "data/mpd.slice.2000-2999.json", shuffled, playlist(2001))
    write_slice(
        tmp_path / "data/mpd.slice.0-999.json", playlist(0, "a", "b", "a"), playlist(1, "c")
    )
    (tmp_path / "stats.txt").write_text("number of playlists 5")
    return tmp_path


def test_slices_are_sentences_in_every_epoch(data):
    sentences = PlaylistSentences(data, "mpd")
    for _ in range(2):
        assert list(sentences) == [uris("aba"), uris("c"), uris("def"), uris("g")]
    one = data / "data/mpd.slice.2000-2999.json"
    assert list(PlaylistSentences(one, "mpd")) == [uris("def")]


def test_the_checksum_is_of_all_slices(data):
    (first, second, third) = playlist_files(data, "mpd")
    alone = playlists_sha256(first, "mpd")
    assert alone == hashlib.sha256(first.read_bytes()).hexdigest()
    whole = playlists_sha256(data, "mpd")
    write_slice(third, playlist(10_000, "h"))
    assert playlists_sha256(data, "mpd") != whole
    assert len({alone, whole, playlists_sha256(second, "mpd")}) == 3


def test_what_is_no_slice_is_named(data):
    path = data / "data/mpd.slice.0-999.json"
    for content, problem in [
        ('{"playlists": [', "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"playlist": []}', "KeyError"),
    ]:
        path.write_text(content)
        with pytest.raises(UserError, match=rf"mpd\.slice\.0-999\.json is damaged .*{problem}"):
            list(PlaylistSentences(data, "mpd"))
    broken = playlist(1, "b")
    del broken["tracks"][0]["track_uri"]
    write_slice(path, playlist(0, "a"), broken)
    with pytest.raises(UserError, match=r"0-999\.json, playlist 1: KeyError\('track_uri'\)"):
        list(PlaylistSentences(data, "mpd"))


def test_paths_and_formats_that_do_not_fit(data):
    with pytest.raises(UserError, match=r"--playlists=.*gone does not exist"):
        PlaylistSentences(data / "gone", "mpd")
    with pytest.raises(UserError, match=r"--playlists=.* does not exist"):
        PlaylistSentences(data, "jsonl")
    (data / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no mpd\.slice"):
        PlaylistSentences(data / "empty", "mpd")
    with pytest.raises(UserError, match=r"--playlists_format=m3u is unknown: .*jsonl, mpd"):
        PlaylistSentences(data, "m3u")
