"""ListenBrainz: files of a dump, and a person's export."""

import json

import pytest

from beam_pipelines import sources
from beam_pipelines.sources import json_lines
from cosernn_tf.errors import UserError

from ..files import write_bytes
from .reading import clean_rows, picked, rejected

SOURCE = sources.create("listenbrainz")
MBID = "98255a8c-017a-4bc7-8dd6-1fa36124572b"
MSID = "03dcc65c-0e01-4f25-aa1f-0f469d10e2ad"


def listen(time: int, info: object = None, **metadata: object) -> dict:
    return {
        "user_id": 71,
        "user_name": "rob",
        "listened_at": time,
        "recording_msid": MSID,
        "track_metadata": {
            "artist_name": "Rick Astley",
            "track_name": "Never Gonna Give You Up",
            "additional_info": info,
            **metadata,
        },
    }


def write(path, rows):
    return write_bytes(path, "\n".join(map(json.dumps, rows)).encode())


EVEN = [
    # Mapped by ListenBrainz; the player said otherwise.
    listen(
        1_443_521_965,
        {"recording_mbid": "0" * 36, "duration_ms": 222_000, "tags": ["x", "y"]},
        mbid_mapping={"recording_mbid": MBID, "artists": [{"join_phrase": ""}]},
    ),
    listen(1_443_522_300, {"recording_mbid": MBID.upper(), "duration": 222.9}),
    listen(1_443_522_600, {"recording_mbid": "", "duration": 0}),
    {**listen(1_443_522_900, {}), "recording_msid": None},
    # As in older dumps.
    {
        "user_name": "rob",
        "timestamp": 1_443_523_200,
        "track_metadata": {
            "artist_name": "A",
            "track_name": "B",
            "additional_info": {"recording_msid": MSID},
        },
    },
    {"user_id": 9, "listened_at": 1_443_523_500, "track_metadata": {"recording_msid": MSID}},
]
NAMED = "Rick Astley\tNever Gonna Give You Up"
EXPECTED = [
    ("rob", MBID, 1_443_521_965, 222_000),
    ("rob", MBID, 1_443_522_300, 222_000),
    ("rob", MSID, 1_443_522_600, -1),
    ("rob", NAMED, 1_443_522_900, -1),
    ("rob", MSID, 1_443_523_200, -1),
    ("9", MSID, 1_443_523_500, -1),
]
COLUMNS = ("user_id", "track_id", "timestamp", "track_duration_ms")

ODD = [
    listen(1_443_530_000, {"duration_ms": "222000", "recording_mbid": ["a", "list"]}),
    listen(1_443_530_300, {"duration": "3:42"}),
    listen(1_443_530_600, []),
    listen(1_443_530_900, {"duration_ms": -5}),
]
ODD_EXPECTED = [
    ("rob", MSID, 1_443_530_000, 222_000),
    ("rob", MSID, 1_443_530_300, -1),
    ("rob", MSID, 1_443_530_600, -1),
    ("rob", MSID, 1_443_530_900, -1),
]


def test_a_month_of_a_dump(tmp_path):
    path = write(tmp_path / "listens/2015/9.listens", EVEN)
    assert picked(clean_rows(SOURCE, path), *COLUMNS) == EXPECTED
    assert rejected(SOURCE, path) == []


def test_what_players_send_of_other_types_is_left_out(tmp_path):
    path = write(tmp_path / "9.listens.zst", [*EVEN, *ODD])
    assert picked(clean_rows(SOURCE, path), *COLUMNS) == EXPECTED + ODD_EXPECTED


def test_odd_lines_cost_only_their_piece_and_keep_their_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "_FEW_LINES", 3)
    monkeypatch.setattr(json_lines, "_PIECES", 4)
    one_by_one = []
    parse = json_lines._parse_objects_one_by_one

    def count_and_parse(lines, *rest):
        one_by_one.append(len(lines))
        return parse(lines, *rest)

    monkeypatch.setattr(json_lines, "_parse_objects_one_by_one", count_and_parse)
    lines = [*map(json.dumps, EVEN), "[1]", *map(json.dumps, ODD), '{"user_name": "ro']
    lines[3] = json.dumps({"user_name": "\ud800"})
    path = write_bytes(tmp_path / "9.listens", "\n".join(lines).encode())
    found = picked(clean_rows(SOURCE, path), *COLUMNS)
    assert found == EXPECTED[:3] + EXPECTED[4:] + ODD_EXPECTED
    # The last line has no end, and so is a block of its own.
    assert one_by_one == [3, 3, 2, 1]
    assert rejected(SOURCE, path) == [(4, "malformed"), (7, "malformed"), (12, "malformed")]


def test_rows_without_user_track_or_time(tmp_path):
    rows = [
        {**listen(1), "user_name": None, "user_id": None},
        {"user_name": "rob", "listened_at": 1, "track_metadata": {"track_name": "no artist"}},
        {**listen(1), "listened_at": None},
        {**listen(1), "listened_at": 1_443_521_965_000},
    ]
    assert rejected(SOURCE, write(tmp_path / "9.listens", rows)) == [
        (1, "missing_user_id"),
        (2, "missing_track_id"),
        (3, "missing_timestamp"),
        (4, "timestamp_out_of_range"),
    ]


def test_a_persons_export(tmp_path):
    own = {"inserted_at": 1_748_964_422.52, **listen(1_748_964_167)}
    del own["user_id"], own["user_name"]
    path = write(tmp_path / "export/listens/2025/6.jsonl", [own])
    assert rejected(SOURCE, path) == [(1, "missing_user_id")]
    user = tmp_path / "export/user.json"
    user.write_text('{"user_id": 71, "username": "rob"}')
    assert picked(clean_rows(SOURCE, path), "user_id", "track_id") == [("rob", MSID)]
    for name in ("feedback.jsonl", "pinned_recording.jsonl"):
        assert SOURCE.units(write(tmp_path / "export" / name, [{"score": 1}])) == []
    user.write_text("{}")
    with pytest.raises(UserError, match=r"user.json does not say whose export"):
        clean_rows(SOURCE, path)
