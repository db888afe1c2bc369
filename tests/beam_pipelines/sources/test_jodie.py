"""The CSV of JODIE's data sets: relative times, a header shorter than its rows."""

import datetime

import pytest

from beam_pipelines import sources

from ..files import write_bytes
from .reading import clean_rows, picked, rejected

SOURCE = sources.create("jodie")
HEADER = "user_id,item_id,timestamp,state_label,comma_separated_list_of_features"
START = int(datetime.datetime(2005, 2, 14, tzinfo=datetime.UTC).timestamp())


@pytest.mark.parametrize("features", [["0"], ["0.1", "0.3", "10.7"]])
@pytest.mark.parametrize("header", [HEADER, HEADER.replace("user_id,item_id", "user,item")])
def test_times_count_from_a_monday(tmp_path, header, features):
    rows = [(0, 0, "0.0"), (2, 1, "36.0"), (7, 0, "86400.9"), (7, 3, "123456789")]
    lines = [header, *(",".join([f"{u},{i},{t},0", *features]) for u, i, t in rows)]
    path = write_bytes(tmp_path / "lastfm.csv", "\n".join(lines).encode())
    assert picked(clean_rows(SOURCE, path), "user_id", "track_id", "timestamp") == [
        ("0", "0", START),
        ("2", "1", START + 36),
        ("7", "0", START + 86_400),
        ("7", "3", START + 123_456_789),
    ]
    assert datetime.datetime.fromtimestamp(START, datetime.UTC).strftime("%A %H:%M") == (
        "Monday 00:00"
    )


def test_bad_rows(tmp_path):
    lines = [HEADER, "0,0,0.0,0,1,2", "0,1,soon,0,1,2", "0,1,,0,1,2", "0,1,5.0,0,1"]
    path = write_bytes(tmp_path / "mooc.csv", "\n".join(lines).encode())
    assert picked(clean_rows(SOURCE, path), "track_id", "timestamp") == [("0", START)]
    assert sorted(rejected(SOURCE, path)) == [
        (2, "bad_timestamp"),
        (3, "missing_timestamp"),
        (4, "malformed"),
    ]


def test_another_csv_is_left_out_and_a_header_alone_has_no_rows(tmp_path):
    assert SOURCE.units(write_bytes(tmp_path / "a.csv", b"user_id,track_id,timestamp\n")) == []
    assert clean_rows(SOURCE, write_bytes(tmp_path / "b.csv", HEADER.encode())) == []
