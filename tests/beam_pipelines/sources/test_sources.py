"""Files in every form that a source reads: rows, their numbers, and what is wrong with them."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines import sources
from beam_pipelines.sources import delimited, json_lines, parquet
from beam_pipelines.sources.files import find_files
from cosernn_tf.errors import UserError

from ..files import write_bytes, write_csv, write_json_lines, write_parquet
from ..logs import random_rows
from .reading import clean_rows, read, rejected

HEADER = "user_id,track_id,timestamp\n"


CANONICAL = sources.create("canonical")


def test_all_forms_of_the_canonical_log_give_the_same_rows(tmp_path):
    rows = random_rows(2)
    expected = clean_rows(CANONICAL, write_parquet(tmp_path / "log.parquet", rows))
    assert len(expected) == len(rows)
    for name, write in [
        ("log.csv", write_csv),
        ("log.csv.gz", write_csv),
        ("log.csv.zst", write_csv),
        ("log.jsonl", write_json_lines),
        ("log.json.gz", write_json_lines),
        ("log.ndjson.zst", write_json_lines),
    ]:
        assert clean_rows(CANONICAL, write(tmp_path / name, rows)) == expected, name


@pytest.mark.parametrize(("listens_per_unit", "groups"), [(1, 1), (25, 1), (26, 2), (51, 3)])
def test_row_groups_are_units_with_their_row_numbers(
    tmp_path, monkeypatch, listens_per_unit, groups
):
    monkeypatch.setattr(parquet, "LISTENS_PER_UNIT", listens_per_unit)
    rows = random_rows(2)
    rows[57]["timestamp"] = -4
    path = write_parquet(tmp_path / "log.parquet", rows, row_group_size=25)
    units = CANONICAL.units(path)
    assert [unit.first_row for unit in units] == list(range(1, len(rows) + 1, 25 * groups))
    assert {unit.parts for unit in units[:-1]} == {groups}
    assert sum(unit.listens or 0 for unit in units) == len(rows)
    assert clean_rows(CANONICAL, path) == clean_rows(
        CANONICAL, write_parquet(tmp_path / "whole.parquet", rows, row_group_size=10**6)
    )
    assert rejected(CANONICAL, path) == [(58, "timestamp_out_of_range")]


def test_types_that_people_write_are_read(tmp_path):
    table = pa.table(
        {
            "user_id": pa.array([7, 8]),
            "track_id": pa.array(["a", "b"]).dictionary_encode(),
            "timestamp": pa.array([1_554_076_800_123, 1_554_076_801_000]).cast(pa.timestamp("ms")),
            "ms_played": pa.array([5.0, None]),
        }
    )
    pq.write_table(table, tmp_path / "log.parquet")
    first, second = clean_rows(CANONICAL, tmp_path / "log.parquet")
    assert (first["user_id"], first["track_id"], first["ms_played"]) == ("7", "a", 5)
    assert (first["timestamp"], second["timestamp"]) == (1_554_076_800, 1_554_076_801)


def test_csv_quirks(tmp_path):
    content = (
        "\ufeffuser_id, track_id ,timestamp\r\n"
        '"u,1","a ""b""\nc",2019-04-01T00:00:00Z\r\n'
        "u2,t\r\n"
        "\r\n"
        "u3,,1\r\n"
        "u4,t,x,y\r\n"
        "u5,t,7\r\n"
    )
    path = write_bytes(tmp_path / "log.csv", content.encode())
    found = [(row["user_id"], row["track_id"]) for row in clean_rows(CANONICAL, path)]
    assert found == [("u,1", 'a "b"\nc'), ("u5", "t")]
    assert sorted(rejected(CANONICAL, path)) == [
        (2, "malformed"),
        (3, "missing_track_id"),
        (4, "malformed"),
    ]


def test_row_numbers_hold_over_blocks(tmp_path, monkeypatch):
    for module in (delimited, json_lines):
        monkeypatch.setattr(module, "BYTES_PER_BLOCK", 200)
    lines = [f"u,t,{row}" for row in range(1, 101)]
    lines[9], lines[60], lines[61], lines[99] = "bad", "u,t,-1", "bad,bad", "bad"
    path = write_bytes(tmp_path / "log.csv", (HEADER + "\n".join(lines)).encode())
    assert len(read(CANONICAL, path)) > 3
    assert sorted(rejected(CANONICAL, path)) == [
        (10, "malformed"),
        (61, "timestamp_out_of_range"),
        (62, "malformed"),
        (100, "malformed"),
    ]
    timestamps = [row["timestamp"] for row in clean_rows(CANONICAL, path)]
    assert timestamps == [row for row in range(1, 101) if row not in (10, 61, 62, 100)]
    objects = [json.dumps({"user_id": "u", "track_id": "t", "timestamp": t}) for t in range(90)]
    objects[40] = "[1]"
    path = write_bytes(tmp_path / "log.jsonl", "\n".join(objects).encode())
    assert rejected(CANONICAL, path) == [(41, "malformed")]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_row_numbers_hold_however_many_rows_are_malformed(tmp_path, monkeypatch, share):
    monkeypatch.setattr(delimited, "BYTES_PER_BLOCK", 150)
    rng = random.Random(share)
    is_bad = [rng.random() < share for _ in range(600)]
    # Rows of one line and of two, with blank lines between.
    lines = [
        "x" if bad else rng.choice([f"u,t,{row}", f'u,"t\n",{row}', f"\nu,t,{row}"])
        for row, bad in enumerate(is_bad, start=1)
    ]
    path = write_bytes(tmp_path / "log.csv", (HEADER + "\n".join(lines)).encode())
    expected = [row for row, bad in enumerate(is_bad, start=1) if bad]
    assert rejected(CANONICAL, path) == [(row, "malformed") for row in expected]
    found = read(CANONICAL, path)
    numbers = [int(row) for raw in found for row in raw.rows]
    assert numbers == [row["timestamp"] for row in clean_rows(CANONICAL, path)]
    assert sorted(numbers + expected) == list(range(1, 601))


def test_json_lines_quirks(tmp_path):
    lines = [
        {"user_id": 7, "track_id": "2019-04-01", "timestamp": "2019-04-01T00:00:00Z"},
        {"user_id": "8", "track_id": "t", "timestamp": 1.5, "skipped": True},
        {"user_id": "9", "track_id": "t", "timestamp": None},
        {"user_id": ["9"], "track_id": "t", "timestamp": 1},
        {"user_id": "\ud800", "track_id": "t", "timestamp": 1},
        {"user_id": "10", "timestamp": 1},
    ]
    content = "\n\n".join(map(json.dumps, lines)) + '\n{"user_id": "11"'
    path = write_bytes(tmp_path / "log.jsonl", content.encode())
    found = clean_rows(CANONICAL, path)
    assert [(r["user_id"], r["track_id"], r["timestamp"], r["skipped"]) for r in found] == [
        ("7", "2019-04-01", 1_554_076_800, -1),
        ("8", "t", 1, 1),
    ]
    assert sorted(rejected(CANONICAL, path)) == [
        (3, "missing_timestamp"),
        (4, "malformed"),
        (5, "malformed"),
        (6, "missing_track_id"),
        (7, "malformed"),
    ]


def test_ids_that_look_like_times_stay_text(tmp_path):
    line = {"user_id": "2019-04-01", "track_id": "2019-04-01T00:00:00Z", "timestamp": 3}
    (row,) = clean_rows(CANONICAL, write_json_lines(tmp_path / "log.jsonl", [line]))
    assert (row["user_id"], row["track_id"]) == ("2019-04-01", "2019-04-01T00:00:00Z")


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet"])
def test_unknown_columns_are_refused_unless_ignored(tmp_path, name):
    rows = [{"user_id": "u", "track_id": "t", "timestamp": 1, "mood": "glad"}]
    path = tmp_path / name
    if name == "log.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        (write_csv if name == "log.csv" else write_json_lines)(path, rows)
    with pytest.raises(UserError, match=r"unknown column mood.*--ignore_columns=mood"):
        read(CANONICAL, path)
    assert len(clean_rows(sources.create("canonical", ignored_columns=("mood",)), path)) == 1


def test_a_repeated_column_is_refused(tmp_path):
    path = write_bytes(tmp_path / "log.csv", b"user_id,track_id,timestamp,user_id\na,b,1,c\n")
    with pytest.raises(UserError, match="user_id more than once"):
        read(CANONICAL, path)


def test_lastfm_1k(tmp_path):
    lines = [
        'user_1\t2009-05-04T23:08:57Z\tart-1\tDeep "Dish\ttrack-1\tFuck Me Im Famous',
        "user_1\t2009-05-04T13:54:10Z\t\t坂本龍一\t\tComposition, 0919",
        "user_2\t2009-05-04T13:54:10Z\tart-3\t坂本龍一\t\tComposition, 0919",
        "user_2\t2009-05-04T13:59:10Z\tart-3\tNobody\t\t",
        "user_2\tnot a time\tart-3\tNobody\ttrack-2\tSong",
        "user_2\t2009-05-04T13:59:10Z",
    ]
    path = write_bytes(tmp_path / "log.tsv.gz", "\n".join(lines).encode())
    source = sources.create("lastfm1k")
    found = clean_rows(source, path)
    assert [(row["user_id"], row["track_id"], row["timestamp"]) for row in found] == [
        ("user_1", "track-1", 1_241_478_537),
        ("user_1", "坂本龍一\tComposition, 0919", 1_241_445_250),
        ("user_2", "坂本龍一\tComposition, 0919", 1_241_445_250),
    ]
    assert sorted(rejected(source, path)) == [
        (4, "missing_track_id"),
        (5, "bad_timestamp"),
        (6, "malformed"),
    ]
    profile = write_bytes(tmp_path / "userid-profile.tsv", b"user_1\tm\t22\tPeru\tMay 18, 2006\n")
    assert source.units(profile) == []


def test_unknown_format():
    with pytest.raises(UserError, match=r"canonical, lastfm1k, .*jodie"):
        sources.create("winamp")


def test_find_files(tmp_path):
    for name in ("b.csv", "a.csv.gz", "deep/c.parquet", "notes.txt", "deep/.hidden.json"):
        write_bytes(tmp_path / name, b"x")
    suffixes = (".csv", ".parquet")

    def found(*patterns: str) -> list[str]:
        paths = find_files([str(tmp_path / p) for p in patterns], suffixes, flag="--listens")
        return [str(path.relative_to(tmp_path)) for path in paths]

    assert found(".") == ["a.csv.gz", "b.csv", "deep/c.parquet"]
    assert found("*.csv*", "b.csv") == ["a.csv.gz", "b.csv"]
    assert found("**/*.parquet") == ["deep/c.parquet"]
    with pytest.raises(UserError, match=r"--listens=.*gone.csv does not exist"):
        found("b.csv", "gone.csv")


def test_dictionaries_may_have_values_that_no_row_has(tmp_path):
    ids = pa.DictionaryArray.from_arrays([1, 1, 2], ["a", "m", "n", "z"])
    table = pa.table({"user_id": ids, "track_id": ids, "timestamp": [1, 2, 3]})
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=2)
    found = [row["user_id"] for row in clean_rows(CANONICAL, tmp_path / "log.parquet")]
    assert found == ["m", "m", "n"]
