"""Vocabularies against plain counting, and buckets that lose and mix nothing."""

import collections

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules import vocabulary as vocabularies
from beam_pipelines.rules.buckets import gather_bucket, split_by_bucket
from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.spill import Spill, from_bytes, load, to_bytes
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


@pytest.mark.parametrize(("min_track_listens", "at_once"), [(0, 10**6), (23, 30)])
def test_vocabularies_equal_plain_counts(rows, min_track_listens, at_once, monkeypatch):
    monkeypatch.setattr(vocabularies, "_VALUES_AT_ONCE", at_once)
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
    row_of = {track: row for row, (track, _) in enumerate(expected)}
    sources = vocabulary.stream_sources
    assert len(sources) == 3
    assert sources[0] == "unknown"
    assert set(sources[1:]) < {"charts", "radio", "user playlist"}
    for counted, found in zip(counts, vocabulary.rows(counts), strict=True):
        tracks_of_bucket = counted.tracks["value"].to_pylist()
        assert found.track.tolist() == [row_of.get(track, -2) for track in tracks_of_bucket]
        assert found.stream_source.tolist() == [
            sources.index(source) if source in sources else 0
            for source in counted.stream_sources["value"].to_pylist()
        ]


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
