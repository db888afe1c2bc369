"""Vocabularies against plain counting, and buckets that lose and mix nothing."""

import collections

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from beam_pipelines.rules.buckets import gather_bucket, gather_rows, split_listens
from beam_pipelines.rules.checks import CLEAN_SCHEMA, check_listens
from beam_pipelines.rules.packing import with_dictionaries
from beam_pipelines.rules.spill import Part, Spill, load
from beam_pipelines.rules.tally import Tally
from beam_pipelines.rules.vocabulary import (
    Counts,
    MergedTracks,
    choose_splitters,
    count_values,
    divided,
    in_row_order,
    merge_stream_sources,
    merge_tracks,
    order_tracks,
    split_by_range,
)
from beam_pipelines.transforms.sequence import sequence_bucket
from cosernn_tf.sessions import shard_of
from cosernn_tf.workspace import Split

from ..files import part_of, raw_listens
from ..logs import random_rows, sessions_of, without_duplicates


@pytest.fixture(scope="module")
def rows():
    return random_rows(8, users=20)


def parts(rows, num_buckets: int) -> dict[int, list[Part]]:
    found = collections.defaultdict(list)
    for start in range(0, len(rows), 97):
        table = check_listens(raw_listens(rows[start : start + 97])).clean
        for bucket, part in split_listens(table, num_buckets):
            found[bucket].append(part_of(part))
    return found


def test_every_row_is_in_the_bucket_of_its_user(rows):
    clean = check_listens(raw_listens(rows)).clean
    gathered = []
    for bucket, chunks in parts(rows, 5).items():
        table = gather_rows(chunks, CLEAN_SCHEMA)
        assert table.schema == CLEAN_SCHEMA
        assert set(shard_of(table["user_id"].to_pylist(), 5)) == {bucket}
        gathered += table.to_pylist()
    key = repr
    assert sorted(gathered, key=key) == sorted(clean.to_pylist(), key=key)


def test_a_part_names_only_users_of_its_bucket(rows):
    clean = with_dictionaries(check_listens(raw_listens(rows)).clean)
    for bucket, table in split_listens(clean, 5):
        named = table["user_id"].chunk(0).dictionary.to_pylist()
        assert sorted(named) == sorted(set(table["user_id"].to_pylist()))
        assert set(shard_of(named, 5)) == {bucket}


def test_a_gathered_bucket_codes_every_id(rows):
    clean = check_listens(raw_listens(rows)).clean
    # One part has its users in a dictionary with names that no row has, the other none.
    names = pa.array(["no row's", *sorted(set(clean["user_id"].to_pylist())), "nor this one's"])
    codes = pc.index_in(clean["user_id"], names).combine_chunks()
    users = pa.DictionaryArray.from_arrays(codes, names)
    parted = clean.set_column(0, "user_id", users)
    bucket = gather_bucket([part_of(parted.slice(50)), part_of(clean.slice(0, 50))])
    order = np.concatenate([np.arange(50, clean.num_rows), np.arange(50)])
    expected = clean.take(pa.array(order))
    assert bucket.user_id.tolist() == sorted(set(clean["user_id"].to_pylist()))
    assert bucket.user_id[bucket.listens.user].tolist() == expected["user_id"].to_pylist()
    tracks = np.array(bucket.track_id.to_pylist(), object)
    assert len(tracks) == len(set(tracks)) == 25
    assert tracks[bucket.listens.track].tolist() == expected["track_id"].to_pylist()
    sources = np.array([*bucket.stream_source.to_pylist(), None], object)
    assert sources.tolist() == ["charts", "radio", "user playlist", None]
    assert sources[bucket.listens.stream_source].tolist() == expected["stream_source"].to_pylist()
    assert bucket.listens.ms_played.tolist() == expected["ms_played"].to_pylist()


def test_an_empty_bucket():
    bucket = gather_bucket([])
    sessions, counters = sequence_bucket(bucket, np.zeros(0, np.int64), gap_seconds=1200)
    assert sessions.table.num_sessions == 0
    assert sessions.table.row_splits.tolist() == [0]
    assert counters["kept"] == 0


@pytest.fixture(scope="module")
def split(rows) -> Split:
    starts = sorted(s.start for own in sessions_of(rows).values() for s in own)
    return Split(starts[len(starts) // 2], starts[-1])


@pytest.fixture(scope="module")
def counts(rows, split) -> list[Counts]:
    """Of four buckets."""
    found = []
    for chunks in parts(rows, 4).values():
        bucket = gather_bucket(chunks)
        ages = np.full(len(bucket.user_id), -1)
        sessions, _ = sequence_bucket(bucket, ages, gap_seconds=1200)
        found.append(
            count_values(
                sessions, split, track_id=bucket.track_id, stream_source=bucket.stream_source
            )
        )
    return found


@pytest.fixture(scope="module")
def listens_of(rows, split) -> collections.Counter[str]:
    """Training listens of every track."""
    listens: collections.Counter[str] = collections.Counter()
    for own in sessions_of(rows).values():
        for session in own:
            listens.update(dict.fromkeys(session.tracks, 0))
            listens.update(session.tracks if session.start < split.validation_start else [])
    return listens


@pytest.mark.parametrize("splitters", [(), ("t17",), ("a", "t1", "t10", "t22", "z")])
@pytest.mark.parametrize("min_track_listens", [0, 23])
@pytest.mark.parametrize("rows_at_once", [7, 1000])
def test_the_track_vocabulary_equals_plain_counts(
    counts, listens_of, splitters, min_track_listens, rows_at_once, tmp_path
):
    """By the whole way: buckets split by range, ranges merged, tracks ordered and written."""
    orders = []
    by_range = collections.defaultdict(list)
    for bucket, counted in enumerate(counts):
        codes, ranges = split_by_range(counted.tracks, splitters)
        orders.append(codes)
        for number, table in ranges.items():
            by_range[number].append((bucket, table))
    assert len(by_range) <= len(splitters) + 1
    merged: list[MergedTracks] = []
    ranks = collections.defaultdict(list)
    for _, of_range in sorted(by_range.items()):
        before = sum(found.tracks.num_rows for found in merged)
        merged.append(merge_tracks([table for _, table in of_range]))
        for (bucket, _), own in zip(of_range, merged[-1].ranks, strict=True):
            ranks[bucket].append(before + own)
    listens = np.concatenate([found.tracks["train_listens"].to_numpy() for found in merged])
    order = order_tracks(listens, min_track_listens=min_track_listens)
    tables = list(
        in_row_order(
            (found.tracks for found in merged),
            order.rows,
            Spill(str(tmp_path)),
            rows_at_once=rows_at_once,
        )
    )
    assert {table.num_rows for table in tables[:-1]} <= {rows_at_once}
    expected = sorted(listens_of.items(), key=lambda item: (-item[1], item[0]))
    assert [tuple(row.values()) for table in tables for row in table.to_pylist()] == expected
    assert order.num_tracks == sum(number >= min_track_listens for number in listens_of.values())
    assert order.num_tracks < 25 or min_track_listens == 0
    row_of = {track: row for row, (track, _) in enumerate(expected)}
    for bucket, counted in enumerate(counts):
        rows = np.empty(counted.tracks.num_rows, np.int64)
        rows[orders[bucket]] = order.rows[np.concatenate(ranks[bucket])]
        values = counted.tracks["value"].to_pylist()
        assert rows.tolist() == [row_of[track] for track in values]


def test_ids_are_ordered_by_their_bytes_in_ranges_and_within():
    ids = ["z", "é", "a", "\U0001f600", "ｚ", "B", "", "a\0", "aa"]
    expected = sorted(ids, key=str.encode)
    splitters = choose_splitters([ids[:5], ids[5:], ids], 4)
    assert list(splitters) == sorted(set(splitters), key=str.encode)
    table = pa.table({"value": ids, "listens": [1] * len(ids)})
    _, ranges = split_by_range(table, splitters)
    assert len(ranges) == 4
    found = [merge_tracks([ranges[number]]).tracks for number in sorted(ranges)]
    assert pa.concat_tables(found)["track_id"].to_pylist() == expected


@pytest.mark.parametrize(
    ("samples", "num_ranges", "expected"),
    [
        ([], 3, ()),
        ([["a"]], 3, ()),
        ([["b", "a"], ["c", "d"], ["a", "a"]], 2, ("c",)),
        ([["b", "a"], ["c", "d"]], 4, ("b", "c", "d")),
        ([["b", "a"]], 5, ("b",)),
        ([["b", "a"]], 1, ()),
    ],
)
def test_splitters_part_the_distinct_ids_evenly(samples, num_ranges, expected):
    assert choose_splitters(samples, num_ranges) == expected


@pytest.mark.parametrize("first", range(8))
def test_tables_are_divided_at_a_row(first):
    table = pa.table({"row": range(7)})
    tables = (table.slice(start, 3) for start in (0, 3, 6))
    own, others = ([piece["row"].to_pylist() for piece in part] for part in divided(tables, first))
    assert [row for rows in own for row in rows] == list(range(first))
    assert [row for rows in others for row in rows] == list(range(first, 7))
    # The tables are not put together, nor are there empty ones.
    assert all(len({row // 3 for row in rows}) == 1 for rows in own + others)


def test_the_vocabulary_of_sources_equals_plain_counts(rows, counts, split):
    expected: collections.Counter[str] = collections.Counter()
    for user, sessions in sessions_of(rows).items():
        starts = [session.start for session in sessions]
        for row in without_duplicates([row for row in rows if row["user_id"] == user]):
            if max(s for s in starts if s <= row["timestamp"]) < split.validation_start:
                expected.update([row["stream_source"]])
    del expected[None]
    found = merge_stream_sources(counted.stream_sources for counted in counts)
    rows = [tuple(row.values()) for row in found.to_pylist()]
    assert rows == [("unknown", 0), *expected.most_common()]
    assert len(set(expected.values())) == 3


def test_sources_are_ordered_by_name_where_equal_and_unknown_is_never_named_twice():
    first = pa.table({"value": ["b", "unknown", "é", "never"], "listens": [2, 9, 1, 0]})
    second = pa.table({"value": ["z", "b"], "listens": [3, 1]})
    found = merge_stream_sources([first, second])
    assert found["stream_source"].to_pylist() == ["unknown", "b", "z", "é"]
    assert found["train_listens"].to_pylist() == [9, 3, 3, 1]


@pytest.mark.parametrize("on_disk", [False, True])
def test_parts_come_back_as_they_were(tmp_path, on_disk):
    spill = Spill(str(tmp_path) if on_disk else None)
    contents = [b"one", b"", b"three" * 1000]
    assert [load(part) for part in spill.put(contents)] == contents
    assert len(list(tmp_path.iterdir())) == on_disk


def test_a_part_that_is_cut_short_is_an_error(tmp_path):
    (part,) = Spill(str(tmp_path)).put([b"whole"])
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"who")
    with pytest.raises(OSError, match="shorter than it was written"):
        load(part)


def test_tallies_add_up():
    parts = [Tally({"a": 1}, 5, 9), Tally({"b": 2, "a": 3}), Tally({}, 2, 3)]
    total = sum(parts, Tally())
    assert total == Tally({"a": 4, "b": 2}, 2, 9)
    split = Tally({}, 0, 20 * 86_400).split(validation_days=5, test_days=14)
    assert split == Split(86_400, 6 * 86_400)
