"""The bound on memory: how the work is cut, and that the cut changes no byte of the output."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines import memory, sources
from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import find_units, sessionize
from beam_pipelines.memory import MAX_THREADS, plan_memory, plan_threads
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.size import estimate_listens
from beam_pipelines.transforms import sequence
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import open_sessions

from .files import files_of, write_csv, write_json_lines, write_parquet
from .logs import random_rows


def test_more_memory_lets_more_threads_work_up_to_the_processors():
    assert plan_threads(2048, processors=2) == 2
    assert plan_threads(100_000, processors=64) == MAX_THREADS
    threads = [plan_threads(mb, processors=4) for mb in (600, 800, 1000, 2000)]
    assert threads == sorted(threads)
    assert threads[0] < threads[-1] == 4


def test_too_little_memory_is_refused_with_the_least_that_works():
    with pytest.raises(UserError, match="needs") as refused:
        plan_threads(100, processors=4)
    least = int(str(refused.value).split()[-1])
    assert plan_threads(least, processors=4) == 1
    with pytest.raises(UserError):
        plan_threads(least - 1, processors=4)


@pytest.mark.parametrize("num_listens", [0, 10**4, 10**7, 10**9, 10**11])
@pytest.mark.parametrize(("max_memory_mb", "threads"), [(600, 1), (2048, 2), (16_384, 8)])
def test_the_buckets_of_all_threads_fit(num_listens, max_memory_mb, threads):
    plan = plan_memory(max_memory_mb, threads=threads, num_listens=num_listens, num_shards=32)
    fan = plan.fan
    held = threads * num_listens / (32 * fan) * memory._BYTES_PER_LISTEN
    assert held + memory._PROCESS_BYTES < max_memory_mb * 2**20
    held = threads * num_listens / plan.num_ranges * memory._BYTES_PER_ENTRY
    assert held + memory._PROCESS_BYTES < max_memory_mb * 2**20
    # No more of them than that takes.
    if fan > 1:
        held = threads * num_listens / (32 * (fan - 1)) * memory._BYTES_PER_LISTEN
        assert memory._UNEVEN * held + memory._PROCESS_BYTES > max_memory_mb * 2**20


# Estimates ---------------------------------------------------------------------------------------


def estimate(path: Path, listens_format: str = "canonical") -> int:
    units, _ = find_units(sources.create(listens_format), [str(path)])
    return estimate_listens(units)


def test_parquet_tells_how_many_listens_it_has(tmp_path):
    rows = random_rows(0)
    write_parquet(tmp_path / "a.parquet", rows, row_group_size=7)
    write_parquet(tmp_path / "b.parquet", rows[:30])
    assert estimate(tmp_path) == len(rows) + 30


def test_listens_in_lists_are_counted_not_lists(tmp_path):
    lengths = np.array([3, 0, 40])
    lists = {
        name: [list(range(length)) for length in lengths.tolist()]
        for name in ("timestamp", "item_id", "played_ratio_pct", "track_length_seconds")
    }
    pq.write_table(pa.table({"uid": [1, 2, 3], **lists}), tmp_path / "sequential.parquet")
    found = estimate(tmp_path, "yambda")
    assert lengths.sum() <= found <= lengths.sum() + len(lengths)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.jsonl", "log.jsonl.zst"])
def test_text_is_estimated_by_a_sample(name, tmp_path):
    rows = random_rows(1, users=60)
    write = write_csv if ".csv" in name else write_json_lines
    write(tmp_path / "few" / name, rows[:200])
    write(tmp_path / name, rows)
    assert estimate(tmp_path) == pytest.approx(len(rows) + 200, rel=0.2)


def test_a_file_of_one_line_counts_its_objects(tmp_path):
    play = {"endTime": "2020-01-01 10:00", "artistName": "a", "trackName": "t", "msPlayed": 9}
    (tmp_path / "anna").mkdir()
    path = tmp_path / "anna/StreamingHistory0.json"
    path.write_text(json.dumps([play] * 500))
    assert estimate(tmp_path, "spotify") == 500


def test_what_cannot_be_sampled_is_taken_for_many_listens(tmp_path):
    data = gzip.compress(random.Random(0).randbytes(10_000))
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(b"no gzip" + data)
    assert 100 < estimate_listens([Unit(str(path))]) < 10_000


# The output --------------------------------------------------------------------------------------


def test_buckets_within_shards_change_no_byte(tmp_path, monkeypatch):
    rows = random_rows(3, users=40)
    rows[5]["timestamp"], rows[77]["track_id"] = -1, ""
    log = write_json_lines(tmp_path / "log.jsonl", rows)
    buckets: list[str] = []

    def watched(bucket, *args, **options):
        buckets.append(repr(bucket.user_id))
        return sequence_bucket(bucket, *args, **options)

    sequence_bucket = sequence.sequence_bucket
    monkeypatch.setattr(sequence, "sequence_bucket", watched)
    found = {}
    for bytes_per_listen in (1, 10**7):
        monkeypatch.setattr(memory, "_BYTES_PER_LISTEN", bytes_per_listen)
        output = tmp_path / str(bytes_per_listen)
        sessionize(SessionizeConfig(listens=(str(log),), output=output, num_shards=3))
        found[bytes_per_listen] = (
            files_of(output, without=("manifest.json",)),
            open_sessions(output).manifest,
            len(buckets),
        )
        buckets.clear()
    (whole, manifest, few), (cut, cut_manifest, many) = found.values()
    assert few == 3
    assert many > 3 * 4
    assert cut == whole
    assert cut_manifest.shards == manifest.shards
    assert cut_manifest.counters == manifest.counters
    assert sum(name.startswith("rejected") for name in whole) == 1
