"""The steps in a Beam pipeline: what they give, and the committed counters."""

import json

import apache_beam as beam
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines import sources
from beam_pipelines.rules.spill import Spill, load
from beam_pipelines.transforms.read import REJECTED_LINES, TALLY, ReadListens, ReadUsers

from ..files import write_bytes, write_parquet
from ..logs import random_rows


def committed(pipeline: beam.Pipeline) -> dict[str, int]:
    result = pipeline.run()
    result.wait_until_finish()
    found = result.metrics().query(MetricsFilter().with_namespace("sessionize"))["counters"]
    return {counter.key.metric.name: counter.committed for counter in found}


def test_read_listens_counts_what_it_reads_and_rejects(tmp_path):
    rows = random_rows(1)
    rows[3]["timestamp"], rows[4]["track_id"] = -1, ""
    source = sources.create("canonical")
    units = source.units(write_parquet(tmp_path / "log.parquet", rows))
    pipeline = beam.Pipeline(runner=FnApiRunner())
    outputs = (
        pipeline
        | beam.Create(units)
        | beam.ParDo(ReadListens(source, 3, Spill())).with_outputs(
            REJECTED_LINES, TALLY, main="listens"
        )
    )
    path = tmp_path / "rejected"
    _ = (
        outputs[REJECTED_LINES]
        | beam.combiners.ToList()
        | beam.Map(
            lambda parts: path.write_bytes(b"".join(load(part) for _, (_, part) in sorted(parts)))
        )
    )
    assert committed(pipeline) == {
        "read": len(rows),
        "devices_other": sum(row["device"] == "toaster" for row in rows),
        "rejected_timestamp_out_of_range": 1,
        "rejected_missing_track_id": 1,
    }
    assert [json.loads(line)["row"] for line in path.read_text("utf-8").splitlines()] == [4, 5]


def test_read_users_counts_what_it_reads_and_rejects(tmp_path):
    path = write_bytes(tmp_path / "users.csv", b"age,user_id\n30,a\n200,b\n,c\nold,d\n5\n")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = (
        pipeline
        | beam.Create([str(path)])
        | beam.ParDo(ReadUsers(3, Spill())).with_outputs(main="users")
    )
    assert committed(pipeline) == {
        "users_read": 5,
        "rejected_users_bad_age": 2,
        "rejected_users_malformed": 1,
    }
