"""Reads playlists, the sentences of word2vec (§3.2), in the formats of `--playlists_format`.

- `jsonl`: JSON Lines, plain or gzip, a line a playlist with its `track_ids`.
- `mpd`: slices of Spotify's Million Playlist Dataset, `mpd.slice.0-999.json`: one of them or the
  directory that they are in. A track is known by its `track_uri`.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cosernn_tf.errors import UserError

FORMATS: Final = ("jsonl", "mpd")
_SLICES: Final = "mpd.slice.*.json"


def playlist_files(path: Path, playlists_format: str) -> list[Path]:
    """The files that hold the playlists of `path`, in order.

    Raises:
        UserError: There is none, or the format is unknown.
    """
    if playlists_format not in FORMATS:
        raise UserError(
            f"--playlists_format={playlists_format} is unknown: choose from {', '.join(FORMATS)}"
        )
    if path.is_file():
        return [path]
    if playlists_format == "jsonl" or not path.is_dir():
        raise UserError(f"--playlists={path} does not exist")
    slices = sorted(path.rglob(_SLICES), key=_first_playlist)
    if not slices:
        raise UserError(f"--playlists={path} has no {_SLICES}: give the directory of the slices")
    return slices


def read_playlists(path: Path, playlists_format: str) -> Iterator[list[str]]:
    """The track ids of one file's playlists, one after the other.

    Raises:
        UserError: The file is damaged or has another format.
    """
    return _read_lines(path) if playlists_format == "jsonl" else _read_slice(path)


def _read_lines(path: Path) -> Iterator[list[str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield _tracks_of_line(path, line, number)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read after line {number} ({error}): give JSON Lines, or whole gzip "
            "with a name that ends in .gz"
        ) from error


def _tracks_of_line(path: Path, line: bytes, number: int) -> list[str]:
    try:
        tracks = json.loads(line)["track_ids"]
        if isinstance(tracks, list) and all(isinstance(track, str) for track in tracks):
            return tracks
        problem = "track_ids is not a list of strings"
    except (ValueError, KeyError, TypeError) as error:
        problem = repr(error)
    raise UserError(
        f'{path}, line {number}: {problem}; a line is {{"playlist_id": str, "track_ids": [str, '
        "...]}"
    )


def _read_slice(path: Path) -> Iterator[list[str]]:
    try:
        playlists = json.loads(path.read_bytes())["playlists"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or no slice of the Million Playlist Dataset ({error!r}): expected "
            "one JSON object with playlists"
        ) from error
    for place, playlist in enumerate(playlists):
        yield _tracks_of_playlist(path, playlist, place)


def _tracks_of_playlist(path: Path, playlist: Any, place: int) -> list[str]:
    try:
        tracks = sorted(playlist["tracks"], key=lambda track: track["pos"])
        return [str(track["track_uri"]) for track in tracks]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}, playlist {place}: {error!r}; expected tracks with pos and track_uri"
        ) from error


def _first_playlist(path: Path) -> tuple[int, str]:
    """Slices go by number: as text, 10000-10999 comes before 2000-2999."""
    number = path.name.split(".")[2].split("-")[0]
    return (int(number) if number.isdecimal() else 0, str(path))
