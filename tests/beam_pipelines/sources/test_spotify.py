"""A person's Spotify data: extended streaming history, account data, and their folders."""

import datetime
import json

import pytest

from beam_pipelines import sources
from beam_pipelines.sources.files import find_files
from cosernn_tf.errors import UserError

from ..files import write_bytes
from .reading import clean_rows, picked, read, rejected

SOURCE = sources.create("spotify")
TRACK = "spotify:track:2whQxHDxButA5STZ32FYme"


def seconds(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp())


def play(**fields: object) -> dict:
    """A row as in an export, with everything that one has."""
    return {
        "ts": "2021-07-10T16:07:56Z",
        "username": "anna",
        "platform": "Android OS 7.0 API 24 (motorola, Moto G (4))",
        "ms_played": 303_013,
        "conn_country": "GB",
        "ip_addr": "203.0.113.7",
        "ip_addr_decrypted": "203.0.113.7",
        "user_agent_decrypted": "unknown",
        "master_metadata_track_name": "Communication Breakdown",
        "master_metadata_album_artist_name": "Led Zeppelin",
        "master_metadata_album_album_name": "Led Zeppelin",
        "spotify_track_uri": TRACK,
        "episode_name": None,
        "episode_show_name": None,
        "spotify_episode_uri": None,
        "audiobook_title": None,
        "audiobook_uri": None,
        "audiobook_chapter_uri": None,
        "audiobook_chapter_title": None,
        "reason_start": "trackdone",
        "reason_end": "trackdone",
        "shuffle": False,
        "skipped": False,
        "offline": False,
        "offline_timestamp": None,
        "incognito_mode": False,
        **fields,
    }


def podcast(**fields: object) -> dict:
    return play(
        spotify_track_uri=None,
        master_metadata_track_name=None,
        master_metadata_album_artist_name=None,
        episode_name="About tea",
        spotify_episode_uri="spotify:episode:4rOoJ6Egrf8K2IrywzwOMk",
        **fields,
    )


def account_play(**fields: object) -> dict:
    return {
        "endTime": "2021-07-10 16:07",
        "artistName": "Led Zeppelin",
        "trackName": "Friends",
        "msPlayed": 61_999,
        **fields,
    }


def write(path, plays):
    return write_bytes(path, json.dumps(plays, indent=2, ensure_ascii=False).encode())


def listens(tmp_path, *plays: dict) -> list[dict]:
    return clean_rows(SOURCE, write(tmp_path / "Streaming_History_Audio_2021_4.json", plays))


def test_a_play_ends_at_ts(tmp_path):
    (row,) = listens(tmp_path, play())
    assert row == {
        "user_id": tmp_path.name,
        "track_id": TRACK,
        "timestamp": seconds("2021-07-10T16:07:56Z") - 303,
        "ms_played": 303_013,
        "skipped": 0,
        "device": 1,
        "stream_source": None,
        "utc_offset_minutes": 0,
        "track_duration_ms": -1,
    }


def test_offline_plays_start_by_the_clock_of_the_device(tmp_path):
    # Two plays reported together: by their device, each begins where the one before ends.
    ts = "2021-07-10T16:21:33Z"
    reported = seconds(ts)
    first, second = 1_625_933_120_791, 1_625_933_433_086
    offline = {"ts": ts, "offline": True}
    rows = listens(
        tmp_path,
        play(**offline, offline_timestamp=second, ms_played=334_893),
        play(**offline, offline_timestamp=first, ms_played=312_800),
        # In seconds, as in newer rows.
        play(**offline, offline_timestamp=second // 1000, ms_played=334_893),
        # Of no use: unset, long before, after the report.
        play(**offline, offline_timestamp=0, ms_played=5_000),
        play(**offline, offline_timestamp=None, ms_played=5_000),
        play(**offline, offline_timestamp=(reported - 31 * 86_400) * 1000, ms_played=5_000),
        play(**offline, offline_timestamp=(reported + 1) * 1000, ms_played=5_000),
        # Set, though the device was not offline.
        play(ts=ts, offline=False, offline_timestamp=first, ms_played=5_000),
        play(ts=ts, offline=None, offline_timestamp=first, ms_played=5_000),
    )
    assert [row["timestamp"] for row in rows] == [
        second // 1000,
        first // 1000,
        second // 1000,
        *[reported - 5] * 6,
    ]
    later, earlier = rows[:2]
    assert earlier["timestamp"] + earlier["ms_played"] // 1000 == later["timestamp"] - 1


@pytest.mark.parametrize(
    ("said", "reason", "skipped"),
    [
        (True, "fwdbtn", 1),
        (True, "trackdone", 1),
        (True, None, 1),
        # The flag was false for all plays for years.
        (False, "fwdbtn", 1),
        (None, "backbtn", 1),
        (False, "endplay", -1),
        (True, "endplay", 1),
        (False, "trackdone", 0),
        (None, "trackdone", 0),
        (False, "logout", 0),
        (None, "logout", -1),
        (None, None, -1),
    ],
)
def test_skipped(tmp_path, said, reason, skipped):
    (row,) = listens(tmp_path, play(skipped=said, reason_end=reason))
    assert row["skipped"] == skipped


@pytest.mark.parametrize(
    ("platform", "device"),
    [
        ("ios", "mobile"),
        ("iOS 13.4 (iPhone11,8)", "mobile"),
        ("android", "mobile"),
        ("Android OS 12 API 32 (Google, Pixel 5)", "mobile"),
        ("Windows Phone 8.1", "mobile"),
        ("iOS 12.1 (iPad7,5)", "tablet"),
        ("Android OS 9 API 28 (samsung, SM-T510)", "tablet"),
        ("Android-tablet OS 4.4.2 API 19 (asus, K00C)", "tablet"),
        ("windows", "desktop"),
        ("Windows 10 (10.0.17763; x64)", "desktop"),
        ("OS X 10.13.3 [x86 8]", "desktop"),
        ("osx", "desktop"),
        ("Linux [x86-64 0]", "desktop"),
        ("web_player windows 10;chrome 79.0.3945.117;desktop", "web"),
        ("WebPlayer (websocket RFC6455)", "web"),
        ("Partner amazon_salmon Amazon;Echo_Dot;;tpapi", "speaker"),
        ("Partner sonos_ppc Sonos;Play1", "speaker"),
        ("Partner google cast_tv;Chromecast;;", "other"),
        ("Partner android_tv Sony;BRAVIA 4K", "other"),
        ("Partner scei_playstation Sony;PS4", "other"),
        ("something new", "other"),
        ("not_applicable", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_devices(tmp_path, platform, device):
    devices = ("unknown", "mobile", "desktop", "speaker", "web", "tablet", "other")
    (row,) = listens(tmp_path, play(platform=platform))
    assert devices[row["device"]] == device


def test_what_is_no_music_is_kept_aside_without_addresses(tmp_path):
    plays = [
        podcast(),
        play(),
        play(
            spotify_track_uri=None,
            audiobook_title="Emma",
            audiobook_chapter_uri="spotify:episode:5",
        ),
        play(spotify_track_uri=None, master_metadata_track_name=None),  # a video, or gone
        play(spotify_track_uri="spotify:episode:4"),
        play(spotify_track_uri="spotify:local:Led+Zeppelin:IV:Four+Sticks:284"),
        7,
        play(ts="last summer"),
        play(ms_played=-3),
        play(ms_played="long"),
        play(ts=None),
    ]
    path = write(tmp_path / "endsong_0.json", plays)
    found = picked(clean_rows(SOURCE, path), "track_id")
    assert found == [(TRACK,), ("spotify:local:Led+Zeppelin:IV:Four+Sticks:284",)]
    assert sorted(rejected(SOURCE, path)) == [
        (1, "not_a_track"),
        (3, "not_a_track"),
        (4, "not_a_track"),
        (5, "not_a_track"),
        (7, "malformed"),
        (8, "bad_timestamp"),
        (9, "negative_ms_played"),
        (10, "bad_ms_played"),
        (11, "missing_timestamp"),
    ]
    (raw,) = read(SOURCE, path)
    contents = [row.content or "" for row in raw.malformed]
    assert json.loads(contents[0])["episode_name"] == "About tea"
    assert "Emma" in contents[1]
    for secret in ("203.0.113.7", "anna", "GB"):
        assert secret not in "".join(contents)


def test_account_data_has_names_and_minutes(tmp_path):
    plays = [
        account_play(),
        account_play(trackName=""),
        {**account_play(), "msPlayed": None},
        {"endTime": "2021-07-10 16:07", "podcastName": "Tea", "episodeName": "1", "msPlayed": 5},
    ]
    path = write(tmp_path / "StreamingHistory_music_0.json.gz", plays)
    end = seconds("2021-07-10T16:07:00Z")
    names = "Led Zeppelin\tFriends"
    assert picked(clean_rows(SOURCE, path), "track_id", "timestamp", "ms_played", "skipped") == [
        (names, end - 61, 61_999, -1),
        (names, end, -1, -1),
    ]
    assert sorted(rejected(SOURCE, path)) == [(2, "missing_track_id"), (4, "not_a_track")]


def test_the_layout_of_exports(tmp_path):
    """Two people's downloads side by side, with all that Spotify puts into them."""
    anna = tmp_path / "anna/my_spotify_data/Spotify Extended Streaming History"
    ben = tmp_path / "ben/Spotify Account Data"
    write(anna / "Streaming_History_Audio_2019-2021_0.json", [play(), podcast()])
    write(anna / "Streaming_History_Audio_2021_1.json", [play(ts="2021-08-01T00:00:00Z")])
    # A music video has the address of a track, but is no listen.
    write(anna / "Streaming_History_Video_2019-2021.json", [play(), podcast()])
    write_bytes(anna / "ReadMeFirst_ExtendedStreamingHistory.pdf", b"%PDF-1.4")
    write_bytes(anna / "._Streaming_History_Audio_2021_1.json", b"\x00\x05\x16\x07")
    write_bytes(anna / ".DS_Store", b"\x00\x00\x00\x01Bud1")
    write(ben / "StreamingHistory_music_0.json", [account_play()])
    write(ben / "StreamingHistory_podcast_0.json", [account_play(), account_play()])
    write(ben / "Userdata.json", {"email": "ben@example.com", "endTime": "never"})
    write(ben / "Playlist1.json", {"playlists": []})
    write(ben / "SearchQueries.json", [{"searchTime": "2021-07-10T16:07:56Z", "platform": "ios"}])
    write(ben / "Marquee.json", [{"artistName": "Led Zeppelin", "segment": "Light listeners"}])
    write(ben / "Wrapped2021.json", [])
    write_bytes(ben / "Read_Me_First.pdf", b"%PDF-1.4")

    files = find_files([str(tmp_path)], SOURCE.suffixes, flag="--listens")
    used = [path.name for path in files if SOURCE.units(path)]
    assert used == [
        "Streaming_History_Audio_2019-2021_0.json",
        "Streaming_History_Audio_2021_1.json",
        "Streaming_History_Video_2019-2021.json",
        "StreamingHistory_music_0.json",
        "StreamingHistory_podcast_0.json",
    ]
    rows = [row for path in files for row in clean_rows(SOURCE, path)]
    assert picked(rows, "user_id", "track_id") == [
        ("anna", TRACK),
        ("anna", TRACK),
        ("ben", "Led Zeppelin\tFriends"),
    ]
    reasons = [reason for path in files for _, reason in rejected(SOURCE, path)]
    assert reasons == ["not_a_track"] * 5


def test_damaged_files_are_named(tmp_path):
    good = json.dumps([play()])
    cut = write_bytes(tmp_path / "Streaming_History_Audio_2021_4.json", good[:-9].encode())
    with pytest.raises(UserError, match=r"Audio_2021_4.json is damaged or no JSON"):
        read(SOURCE, cut)
    path = tmp_path / "endsong_0.json.gz"
    write_bytes(path, good.encode())
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"endsong_0.json.gz"):
        read(SOURCE, path)
