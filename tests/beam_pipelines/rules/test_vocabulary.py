"""Vocabularies against plain counting, and buckets that lose and mix nothing."""

import collections

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.buckets import from_bytes, gather_bucket, split_by_bucket, to_bytes
from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.tally import Tally
from beam_pipelines.rules.vocabulary import count_values, merge_counts
from beam_pipelines.transforms.sequence import sequence_bucket
from cosernn_tf.sessions import shard_of
from cosernn_tf.workspace import Split

from ..files import raw_listens
from ..logs import random_rows, sessions_of


@pytest.fixture(scope="module")
def rows():
    return random_rows(8, users=20)


def parts(rows, num_buckets: int) -> dict[int, list[bytes]]:
    found = collections.defaultdict(list)
    for start in range(0, len(rows), 97):
        table = check_listens(raw_listens(rows[start : start + 97])).clean
        for bucket, part in split_by_bucket(table, num_buckets):
            found[bucket].append(to_bytes(part))
    return found


def test_every_row_is_in_the_bucket_of_its_user(rows):
    clean = check_listens(raw_listens(rows)).clean
    gathered = []
    for bucket, chunks in parts(rows, 5).items():
        table = pa.concat_tables([from_bytes(chunk) for chunk in chunks])
        assert set(shard_of(table["user_id"].to_pylist(), 5)) == {bucket}
        gathered += table.to_pylist()
    key = repr
    assert sorted(gathered, key=key) == sorted(clean.to_pylist(), key=key)


def test_a_gathered_bucket_codes_ids_in_their_order(rows):
    clean = check_listens(raw_listens(rows)).clean
    bucket = gather_bucket([to_bytes(clean.slice(50)), to_bytes(clean.slice(0, 50))])
    order = np.concatenate([np.arange(50, clean.num_rows), np.arange(50)])
    expected = clean.take(pa.array(order))
    assert bucket.user_id.tolist() == sorted(set(clean["user_id"].to_pylist()))
    assert bucket.user_id[bucket.listens.user].tolist() == expected["user_id"].to_pylist()
    tracks = np.array(bucket.track_id.to_pylist(), object)
    assert tracks.tolist() == sorted(set(tracks))
    assert tracks[bucket.listens.track].tolist() == expected["track_id"].to_pylist()
    sources = np.array([*bucket.stream_source.to_pylist(), None], object)
    assert sources[bucket.listens.stream_source].tolist() == expected["stream_source"].to_pylist()
    assert bucket.listens.ms_played.tolist() == expected["ms_played"].to_pylist()


def test_an_empty_bucket():
    bucket = gather_bucket([])
    sessions, counters = sequence_bucket(bucket, np.zeros(0, np.int64), gap_seconds=1200)
    assert sessions.table.num_sessions == 0
    assert sessions.table.row_splits.tolist() == [0]
    assert counters["kept"] == 0


@pytest.mark.parametrize("min_track_listens", [0, 23])
def test_vocabularies_equal_plain_counts(rows, min_track_listens):
    starts = sorted(s.start for own in sessions_of(rows).values() for s in own)
    split = Split(starts[len(starts) // 2], starts[-1])
    tracks: collections.Counter[str] = collections.Counter()
    for own in sessions_of(rows).values():
        for session in own:
            trained = session.start < split.validation_start
            tracks.update(dict.fromkeys(session.tracks, 0))
            tracks.update(session.tracks if trained else [])
    counts = []
    for chunks in parts(rows, 4).values():
        bucket = gather_bucket(chunks)
        ages = np.full(len(bucket.user_id), -1)
        sessions, _ = sequence_bucket(bucket, ages, gap_seconds=1200)
        counts.append(
            count_values(
                sessions, split, track_id=bucket.track_id, stream_source=bucket.stream_source
            )
        )
    vocabulary = merge_counts(counts, min_track_listens=min_track_listens, max_stream_sources=2)
    expected = sorted(tracks.items(), key=lambda item: (-item[1], item[0]))
    expected = [item for item in expected if item[1] >= min_track_listens]
    assert [tuple(row.values()) for row in vocabulary.tracks.to_pylist()] == expected
    assert len(expected) < 25 or min_track_listens == 0
    found = vocabulary.track_rows(pa.array([expected[2][0], "stranger", expected[0][0]]))
    assert found.tolist() == [2, -2, 0]
    assert len(vocabulary.stream_sources) == 3
    assert vocabulary.stream_sources[0] == "unknown"
    known = vocabulary.stream_sources[2]
    sources = vocabulary.stream_source_rows(pa.array([None, known, "stranger"], pa.string()))
    assert sources.tolist() == [0, 2, 0]


def test_tallies_add_up():
    parts = [Tally({"a": 1}, 5, 9), Tally({"b": 2, "a": 3}), Tally({}, 2, 3)]
    total = sum(parts, Tally())
    assert total == Tally({"a": 4, "b": 2}, 2, 9)
    split = Tally({}, 0, 20 * 86_400).split(validation_days=5, test_days=14)
    assert split == Split(86_400, 6 * 86_400)
