"""The real job on a small log in every format: it gives the sessions that the log has."""

import bz2
import datetime
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from beam_pipelines.sources import FORMATS
from cosernn_tf.dataset import read_all
from cosernn_tf.workspace import open_sessions

from ..files import write_bytes, write_csv

START = int(datetime.datetime(2005, 2, 14, tzinfo=datetime.UTC).timestamp())
LISTENS = [
    # user, track, start in seconds, seconds played
    ("1", "7", 0, 180),
    ("1", "8", 180 + 1_199, 180),  # the same session: less than 20 minutes after the end
    ("1", "7", 180 + 1_199 + 180 + 1_200, 180),  # another: exactly 20
    ("1", "9", 40_000, 180),
    ("2", "7", 100, 180),
    ("2", "7", 300_000, 180),
]
"""Where plays have a length, the sessions have 2, 1, 1 and 1, 1 tracks."""
NUM_TRACKS = {"1": [2, 1, 1], "2": [1, 1]}
NUM_TRACKS_WITHOUT_LENGTHS = {"1": [1, 1, 1, 1], "2": [1, 1]}
"""1,379 seconds from start to start are more than 20 minutes."""


def text_of(seconds: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime(form)


def write_canonical(root: Path) -> None:
    rows = [
        {"user_id": user, "track_id": track, "timestamp": START + time, "ms_played": played * 1000}
        for user, track, time, played in LISTENS
    ]
    write_csv(root / "listens.csv", rows)


def write_lastfm1k(root: Path) -> None:
    lines = [
        f"{u}\t{text_of(START + t)}\tartist\tname\t{track}\tname" for u, track, t, _ in LISTENS
    ]
    write_bytes(
        root / "userid-timestamp-artid-artname-traid-traname.tsv", "\n".join(lines).encode()
    )


def write_lfm2b(root: Path) -> None:
    lines = ["user_id\ttrack_id\talbum_id\ttimestamp"]
    lines += [f"{u}\t{k}\t1\t{text_of(START + t, '%Y-%m-%d %H:%M:%S')}" for u, k, t, _ in LISTENS]
    (root / "listening-events.tsv.bz2").write_bytes(bz2.compress("\n".join(lines).encode()))
    write_bytes(root / "tracks.tsv", b"track_id\ttrack_name\n7\tSong\n")


def write_listenbrainz(root: Path) -> None:
    lines = [
        json.dumps(
            {
                "user_name": user,
                "listened_at": START + time,
                "track_metadata": {"track_name": track, "artist_name": "A", "additional_info": {}},
            }
        )
        for user, track, time, _ in LISTENS
    ]
    write_bytes(root / "listens/2005/2.listens", "\n".join(lines).encode())


def write_spotify(root: Path) -> None:
    for own in ("1", "2"):
        plays = [
            {
                "ts": text_of(START + time + played),
                "ms_played": played * 1000,
                "spotify_track_uri": f"spotify:track:{track}",
                "reason_end": "trackdone",
            }
            for user, track, time, played in LISTENS
            if user == own
        ]
        podcast = {"ts": text_of(START), "ms_played": 1, "spotify_track_uri": None}
        folder = root / own / "Spotify Extended Streaming History"
        content = json.dumps([podcast, *plays])
        write_bytes(folder / "Streaming_History_Audio_2005_0.json", content.encode())
        write_bytes(folder / "ReadMeFirst_ExtendedStreamingHistory.pdf", b"%PDF-1.4")


def write_yambda(root: Path) -> None:
    # In steps of five seconds; the second listen of user 1 stays within 20 minutes.
    users, tracks, times, played = zip(*LISTENS, strict=True)
    table = {
        "uid": pa.array(map(int, users), pa.uint32()),
        "timestamp": pa.array([time // 5 * 5 for time in times], pa.uint32()),
        "item_id": pa.array(map(int, tracks), pa.uint32()),
        "is_organic": pa.array([1] * len(users), pa.uint8()),
        "played_ratio_pct": pa.array([50] * len(users), pa.uint16()),
        "track_length_seconds": pa.array([2 * length for length in played], pa.uint32()),
    }
    pq.write_table(pa.table(table), root / "listens.parquet")
    pq.write_table(pa.table({"uid": [1], "item_id": [7], "timestamp": [5]}), root / "likes.parquet")


def write_jodie(root: Path) -> None:
    lines = ["user_id,item_id,timestamp,state_label,comma_separated_list_of_features"]
    lines += [f"{user},{track},{time}.0,0,0.1,0.2" for user, track, time, _ in LISTENS]
    write_bytes(root / "lastfm.csv", "\n".join(lines).encode())


CASES: dict[str, tuple[Callable[[Path], None], dict[str, list[int]], dict[str, int]]] = {
    "canonical": (write_canonical, NUM_TRACKS, {}),
    "lastfm1k": (write_lastfm1k, NUM_TRACKS_WITHOUT_LENGTHS, {}),
    "lfm2b": (write_lfm2b, NUM_TRACKS_WITHOUT_LENGTHS, {}),
    "listenbrainz": (write_listenbrainz, NUM_TRACKS_WITHOUT_LENGTHS, {}),
    "spotify": (write_spotify, NUM_TRACKS, {"rejected_not_a_track": 2}),
    "yambda": (write_yambda, NUM_TRACKS, {}),
    "jodie": (write_jodie, NUM_TRACKS_WITHOUT_LENGTHS, {}),
}


def test_every_format_has_a_case():
    assert tuple(CASES) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_the_job(tmp_path, name):
    write, num_tracks, rejected = CASES[name]
    log = tmp_path / "log"
    log.mkdir()
    write(log)
    config = SessionizeConfig(
        listens=(str(log),), listens_format=name, output=tmp_path / "sessions", num_shards=1
    )
    manifest = sessionize(config)
    table = read_all(open_sessions(config.output))
    users = [user.decode() for user in table.user_id]
    splits = table.row_splits.tolist()
    found = {
        user: table.num_tracks[first:last].tolist()
        for user, first, last in zip(users, splits, splits[1:], strict=False)
    }
    assert found == num_tracks
    assert table.session_start.min() == START
    counters = manifest.counters
    assert counters["kept"] == len(LISTENS)
    assert {key: n for key, n in counters.items() if key.startswith("rejected_")} == rejected
    assert counters["sessions"] == sum(map(len, num_tracks.values()))
