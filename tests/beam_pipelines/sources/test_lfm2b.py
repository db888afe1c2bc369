"""Listening events of LFM-2b and LFM-1b as their authors distribute them."""

import bz2

import pytest

from beam_pipelines import sources
from cosernn_tf.errors import UserError

from ..files import write_bytes
from .reading import clean_rows, picked, rejected

SOURCE = sources.create("lfm2b")
EXPECTED = [("2", "8", 1_357_095_845), ("2", "9", 1_357_095_900), ("31", "8", 1_584_662_399)]


def test_lfm_2b_in_bzip2_of_several_streams(tmp_path):
    streams = [
        b"user_id\ttrack_id\talbum_id\ttimestamp\n2\t8\t5\t2013-01-02 03:04:05\n",
        b"2\t9\t5\t2013-01-02 03:05:00\n31\t8\t-1\t2020-03-19 23:59:59\n",
    ]
    path = tmp_path / "listening-events.tsv.bz2"
    path.write_bytes(b"".join(map(bz2.compress, streams)))
    assert picked(clean_rows(SOURCE, path), "user_id", "track_id", "timestamp") == EXPECTED


def test_lfm_1b_has_no_header_and_other_columns(tmp_path):
    lines = ["2\t7\t5\t8\t1357095845", "2\t7\t5\t9\t1357095900", "31\t7\t-1\t8\t1584662399"]
    path = write_bytes(tmp_path / "LFM-1b_LEs.txt", "\n".join(lines).encode())
    assert picked(clean_rows(SOURCE, path), "user_id", "track_id", "timestamp") == EXPECTED


def test_columns_go_by_their_names(tmp_path):
    content = (
        "user_id\ttrack_id\ttimestamp\tage_at_listen\n"
        "2\t8\t2013-01-02 03:04:05\t12\n"
        "2\t9\tyesterday\t12\n"
        "2\t\t2013-01-02 03:04:05\t12\n"
        "2\t9\n"
    )
    path = write_bytes(tmp_path / "events.tsv", content.encode())
    assert picked(clean_rows(SOURCE, path), "track_id", "timestamp") == [("8", 1_357_095_845)]
    assert sorted(rejected(SOURCE, path)) == [
        (2, "bad_timestamp"),
        (3, "missing_track_id"),
        (4, "malformed"),
    ]


@pytest.mark.parametrize(
    ("name", "first_line"),
    [
        ("LFM-1b_artists.txt", "17\tQueen"),
        ("LFM-1b_tracks.txt", "17\tBohemian Rhapsody\t4"),
        ("LFM-1b_users.txt", "user_id\tcountry\tage\tgender\tplaycount\tregistered_unixtime"),
        ("listening-counts.tsv", "user_id\ttrack_id\tcount"),
        ("README.txt", "LFM-1b"),
        ("blank.txt", ""),
    ],
)
def test_files_that_stand_beside_are_left_out(tmp_path, name, first_line):
    path = write_bytes(tmp_path / name, f"{first_line}\n".encode())
    assert SOURCE.units(path) == []


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "listening-events.tsv.bz2"
    path.write_bytes(bz2.compress(b"user_id\ttrack_id\talbum_id\ttimestamp\n" * 9)[:-9])
    with pytest.raises(UserError, match=r"listening-events.tsv.bz2"):
        clean_rows(SOURCE, path)
