"""Bad rows and files in the formats of others, and among users."""

import bz2
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines import sources
from beam_pipelines.job import find_units
from beam_pipelines.sources.users import check_users_file, read_users
from cosernn_tf.errors import UserError

from ..files import write_bytes
from .reading import clean_rows, rejected

LASTFM = "{}\t2009-05-04T23:08:57Z\tart\tArtist\t{}\tTrack\n"
LFM2B = "user_id\ttrack_id\talbum_id\ttimestamp\n"
JODIE = "user_id,item_id,timestamp,state_label,comma_separated_list_of_features\n"


def brainz(track: str, **changes: object) -> str:
    names = {"track_name": track, "artist_name": "a"}
    fields = {"user_name": "u", "listened_at": 1_554_076_800, "track_metadata": names, **changes}
    return json.dumps(fields) + "\n"


def play(track: str, **changes: object) -> dict[str, object]:
    uri = f"spotify:track:{track}"
    return {"ts": "2019-04-01T00:00:10Z", "ms_played": 10_000, "spotify_track_uri": uri, **changes}


ROWS = [
    (
        "lastfm1k",
        "log.tsv",
        ("\ufeff" + LASTFM.format("u", "a") + LASTFM.format("u", "b")).encode()
        + b"u\t2009-05-04T23:08:57Z\tart\tArt\xff\tc\tTr\xffck\n"
        + b"u\t2009-05-04T23:08:57Z\tart\tArtist\td\xff\tTrack\n"
        + b"u\t2009-05-04T23:08:57Z\tart\tArt\tist\xff\te\tTrack\n"
        + b'u\t2009-05-04T23:08:57Z\tart\t"Art\tf\tTrack\r\n'
        + b"u\tNaN\tart\tArt\tg\tTrack\n"
        + bytes(1_000),
        ["a", "b", "c", "f"],
        [(4, "bad_track_id"), (5, "malformed"), (7, "bad_timestamp"), (8, "malformed")],
    ),
    (
        "lfm2b",
        "events.tsv.bz2",
        (LFM2B + "1\ta\t1\t2019-04-01 00:00:00\n1\tb\t1\t9999-01-01 00:00:00\n1\tc\n").encode()
        + b"1\td\xff\t1\t2019-04-01 00:00:00\n1\te\t1\t2019-04-01 00:00:00",
        ["a", "e"],
        [(2, "timestamp_out_of_range"), (3, "malformed"), (4, "bad_track_id")],
    ),
    (
        "listenbrainz",
        "1.listens",
        ("\ufeff" + brainz("a") + brainz("b", listened_at="soon")).encode()
        + brainz("c?").encode().replace(b"?", b"\xff")
        + (brainz("d", track_metadata=None) + brainz("e", listened_at=float("inf")))
        .replace("\n", "\r\n")
        .encode()
        + b'{"user_name": "u"\n[]\n'
        + brainz("f", listened_at=1.554e9, mood=[1]).encode(),
        ["a\ta", "a\tf"],
        [
            *((2, "bad_timestamp"), (3, "malformed"), (4, "missing_track_id")),
            *((5, "bad_timestamp"), (6, "malformed"), (7, "malformed")),
        ],
    ),
    (
        "spotify",
        "Streaming_History_Audio_2019.json",
        b"\xef\xbb\xbf"
        + json.dumps(
            [
                play("a"),
                play("b", ts="soon"),
                play("c", ts=None),
                play("d", ms_played=-1),
                play("e", ms_played=float("nan")),
                play("f", ms_played="1e300"),
                play("\ud800"),
                7,
                play("g", ts="9999-12-31T23:59:59Z"),
                play("h", ts="0001-01-01T00:00:00Z"),
                {"ts": "2019-04-01T00:00:10Z", "episode_name": "x"},
            ]
        ).encode(),
        ["spotify:track:a", "spotify:track:e"],
        [
            *((2, "bad_timestamp"), (3, "missing_timestamp"), (4, "negative_ms_played")),
            *((6, "bad_ms_played"), (7, "malformed"), (8, "malformed")),
            *((9, "timestamp_out_of_range"), (10, "timestamp_out_of_range"), (11, "not_a_track")),
        ],
    ),
    (
        "jodie",
        "lastfm.csv",
        (
            JODIE + "1,a,0.5,0,1\r\n1,b,inf,0,1\r\n1,c,NaN,0,1\n1,d,1e300,0,1\n1,e,-1e10,0,1\n"
        ).encode()
        + b'1,f,9223372036854775807,0,1\n1,"g,1,0,1\n1,h\n,i,1,0,1\n1,j\xff,1,0,1\n1,k,2,0,1',
        ["a", '"g', "k"],
        [
            *((2, "bad_timestamp"), (3, "bad_timestamp"), (4, "bad_timestamp")),
            *((5, "bad_timestamp"), (6, "timestamp_out_of_range"), (8, "malformed")),
            *((9, "missing_user_id"), (10, "bad_track_id")),
        ],
    ),
]


@pytest.mark.parametrize(("name", "file", "content", "kept", "expected"), ROWS)
def test_bad_rows_are_rejected_by_number_and_the_others_kept(
    tmp_path, name, file, content, kept, expected
):
    source = sources.create(name)
    path = write_bytes(tmp_path / file, content)
    assert [row["track_id"] for row in clean_rows(source, path)] == kept
    assert sorted(rejected(source, path)) == expected


def test_yambda(tmp_path):
    table = {
        "uid": [1, 1, None, 2, 2, 2],
        "item_id": [7, None, 8, 9, 10, 11],
        "timestamp": [0.0, 5.0, 5.0, float("nan"), float("inf"), 1e300],
        "played_ratio_pct": [100] * 6,
    }
    pq.write_table(pa.table(table), tmp_path / "listens.parquet")
    source = sources.create("yambda")
    (row,) = clean_rows(source, tmp_path / "listens.parquet")
    assert (row["user_id"], row["track_id"]) == ("1", "7")
    assert sorted(rejected(source, tmp_path / "listens.parquet")) == [
        (2, "missing_track_id"),
        (3, "missing_user_id"),
        (4, "missing_timestamp"),
        (5, "bad_timestamp"),
        (6, "bad_timestamp"),
    ]


LOG = LASTFM.format("u", "a") * 9
FILES = [
    ("lastfm1k", "log.tsv", LOG.encode("utf-16"), "is UTF-16 text"),
    ("lastfm1k", "log.tsv.gz", LOG.encode(), "is damaged: zlib inflate failed"),
    ("lfm2b", "log.tsv.bz2", bz2.compress(LOG.encode())[:-9], "is damaged: Truncated"),
    ("listenbrainz", "1.listens", brainz("a").encode("utf-16"), "is UTF-16 text"),
    ("spotify", "endsong_0.json", json.dumps([play("a")])[:-1].encode(), "is damaged or no JSON"),
    ("spotify", "endsong_0.json", b'{"ts": 1}', "is damaged: it has the name of a file of plays"),
    ("spotify", "endsong_0.json", bytes(5_000), "is damaged: it has the name of a file of plays"),
    ("spotify", "endsong_0.json", json.dumps([play("a")]).encode("utf-16"), "is UTF-16 text"),
    ("spotify", "endsong_0.json", b'[{"ts": "\xff"}]', "is damaged or no JSON"),
    ("jodie", "log.csv.gz", JODIE.encode(), "is damaged: zlib inflate failed"),
    ("yambda", "listens.parquet", bytes(5_000), "is damaged or no Parquet file"),
]


@pytest.mark.parametrize(("name", "file", "content", "message"), FILES)
def test_a_damaged_file_is_named(tmp_path, name, file, content, message):
    path = tmp_path / file
    path.write_bytes(content)
    source = sources.create(name)
    with pytest.raises(UserError) as error:
        _ = [list(source.read(unit)) for unit in find_units(source, [str(path)])[0]]
    assert str(error.value).startswith(f"{path} {message}")


def test_a_spotify_file_without_plays_is_none(tmp_path):
    (tmp_path / "StreamingHistory1.json").write_text(" [ ]\n")
    assert sources.create("spotify").units(tmp_path / "StreamingHistory1.json") == []


# Users -------------------------------------------------------------------------------------------


def users(path: Path) -> tuple[list[tuple[str, int]], list[tuple[int, str]]]:
    """Ids and ages, and (row, reason) of what is rejected."""
    check_users_file(path)
    good: list[tuple[str, int]] = []
    bad: list[tuple[int, str]] = []
    for table, of_batch in read_users(str(path)):
        good += zip(table["user_id"].to_pylist(), table["age"].to_pylist(), strict=True)
        bad += [(row.row, row.reason) for row in of_batch]
    return good, sorted(bad)


def test_bad_rows_of_users(tmp_path):
    content = (
        b'\xef\xbb\xbfuser_id,age,mood\r\na,30,x\r\n"b,c",,x\nd,31.0,\ne,old,x\nf,1e300,x\n,5,x\n'
        b"g\ng\xff,5,x\nh,131,x\ni,-2,x\nj,NaN,x\nk,5\xff,x\nl,99999999999999999999,x\nm,130,x"
    )
    assert users(write_bytes(tmp_path / "users.csv", content)) == (
        [("a", 30), ("b,c", -1), ("d", 31), ("m", 130)],
        [
            *((4, "users_bad_age"), (5, "users_bad_age"), (6, "users_missing_user_id")),
            *((7, "users_malformed"), (8, "users_missing_user_id"), (9, "users_bad_age")),
            *((10, "users_bad_age"), (11, "users_bad_age"), (12, "users_bad_age")),
            (13, "users_bad_age"),
        ],
    )
    ages = pa.array([30.0, float("nan"), 30.5, float("inf"), None])
    pq.write_table(pa.table({"age": ages, "user_id": list("abcde")}), tmp_path / "users.parquet")
    assert users(tmp_path / "users.parquet") == (
        [("a", 30), ("b", -1), ("e", -1)],
        [(3, "users_bad_age"), (4, "users_bad_age")],
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("users.csv", b"", "is empty"),
        ("users.csv", "user_id,age\nu,3\n".encode("utf-16"), "is UTF-16 text"),
        ("users.csv", b"user_id,age,age\nu,3,4\n", "has the column age more than once"),
        ("users.csv", b'user_id,age\n"u,3\n', ", line 2: a quoted field is never closed"),
        ("users.csv.gz", b"user_id,age\nu,3\n", "is damaged: zlib inflate failed"),
        ("users.parquet", b"PAR1" + bytes(5_000), "is damaged or no Parquet file"),
    ],
)
def test_a_damaged_file_of_users_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        users(path)
    assert f"{path} {message}".replace(" ,", ",") in str(error.value)


@pytest.mark.parametrize("name", ["users.csv", "users.parquet"])
def test_a_file_of_users_that_changes_while_it_is_read_is_named(tmp_path, name):
    path = tmp_path / name
    if name == "users.csv":
        path.write_text("user_id,age\nu,30\n")
    else:
        pq.write_table(pa.table({"user_id": ["u"], "age": [30]}), path)
    reading = read_users(str(path))
    next(reading)
    with path.open("ab") as file:
        file.write(b"v,40\n")
    with pytest.raises(UserError, match=f"{path} has changed since the job began"):
        list(reading)
