"""Yambda's Parquet, flat and sequential."""

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines import sources

from .reading import clean_rows, picked, rejected

SOURCE = sources.create("yambda")
START = int(datetime.datetime(2005, 2, 14, tzinfo=datetime.UTC).timestamp())
NAMES = ("uid", "timestamp", "item_id", "is_organic", "played_ratio_pct", "track_length_seconds")
ROWS = [
    (30, 106_910, 9_270_848, 1, 100, 200),
    (30, 146_130, 6_185_100, 0, 7, 185),
    (30, 146_130, 5_021_833, 1, 159, 60),  # went back
    (41, 5, 9_270_848, 1, None, 200),
    (41, 25_999_995, 17, 0, 50, None),
]
TYPES = (pa.uint32(), pa.uint32(), pa.uint32(), pa.uint8(), pa.uint16(), pa.uint32())


def flat(rows: list[tuple]) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(column, type) for column, type in zip(columns, TYPES, strict=True)]
    return pa.table(arrays, names=NAMES)


def sequential(rows: list[tuple], *, item: str, time: str) -> pa.Table:
    users = list(dict.fromkeys(row[0] for row in rows))
    columns = {"uid": pa.array(users, pa.uint32())}
    names = (time, item, *NAMES[3:])
    for place, (name, type) in enumerate(zip(names, TYPES[1:], strict=True), start=1):
        lists = [[row[place] for row in rows if row[0] == user] for user in users]
        columns[name] = pa.array(lists, pa.list_(type))
    return pa.table(columns)


def test_flat_listens(tmp_path):
    pq.write_table(flat(ROWS), tmp_path / "listens.parquet", row_group_size=2)
    rows = clean_rows(SOURCE, tmp_path / "listens.parquet")
    assert picked(rows, "user_id", "track_id", "timestamp", "ms_played", "track_duration_ms") == [
        # Times are seconds already, though in steps of five.
        ("30", "9270848", START + 106_910, 200_000, 200_000),
        ("30", "6185100", START + 146_130, 12_950, 185_000),
        ("30", "5021833", START + 146_130, 95_400, 60_000),
        ("41", "9270848", START + 5, -1, 200_000),
        ("41", "17", START + 25_999_995, -1, -1),
    ]
    sources_of_streams = [row["stream_source"] for row in rows]
    assert sources_of_streams == ["organic", "recommended", "organic", "organic", "recommended"]


@pytest.mark.parametrize(
    ("item", "time"),
    [("item_ids", "timestamps"), ("item_id", "timestamp"), ("item_ids", "timestamp")],
)
def test_sequential_listens_equal_the_flat_ones(tmp_path, item, time):
    pq.write_table(flat(ROWS), tmp_path / "flat.parquet")
    pq.write_table(sequential(ROWS, item=item, time=time), tmp_path / "sequential.parquet")
    expected = clean_rows(SOURCE, tmp_path / "flat.parquet")
    assert clean_rows(SOURCE, tmp_path / "sequential.parquet") == expected


def test_lists_of_unequal_lengths_and_bad_rows_are_rejected(tmp_path):
    table = sequential(ROWS, item="item_ids", time="timestamps")
    short = pa.array([[1, 2], [5, 25_999_995]], pa.list_(pa.uint32()))
    table = table.set_column(table.column_names.index("timestamps"), "timestamps", short)
    pq.write_table(table, tmp_path / "listens.parquet")
    rows = clean_rows(SOURCE, tmp_path / "listens.parquet")
    assert [row["user_id"] for row in rows] == ["41", "41"]
    assert rejected(SOURCE, tmp_path / "listens.parquet") == [(1, "malformed")]
    pq.write_table(flat([(None, 5, 7, 1, 50, 60), ROWS[0]]), tmp_path / "flat.parquet")
    assert rejected(SOURCE, tmp_path / "flat.parquet") == [(1, "missing_user_id")]


def test_files_that_stand_beside_are_left_out(tmp_path):
    likes = flat(ROWS).drop_columns(["played_ratio_pct", "track_length_seconds"])
    every = flat(ROWS).append_column("event_type", pa.array(["listen"] * len(ROWS)))
    embeddings = pa.table({"item_id": [1], "embed": [[0.5]]})
    for name, table in [("likes", likes), ("multi_event", every), ("embeddings", embeddings)]:
        pq.write_table(table, tmp_path / f"{name}.parquet")
        assert SOURCE.units(tmp_path / f"{name}.parquet") == []
