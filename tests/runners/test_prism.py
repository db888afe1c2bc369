"""The job on Prism, Beam's portable runner for one machine: `make prism-test`."""

import os
from pathlib import Path

import pytest

from tests.entry_points import run

from .comparison import assert_equal_output, make_addition, make_job

PRISM = os.environ.get("PRISM", "")

pytestmark = pytest.mark.skipif(
    not Path(PRISM).is_file(), reason="no Prism binary: `make prism-test` builds it and runs this"
)


def test_the_output_is_that_of_the_direct_runner(tmp_path):
    job = make_job(tmp_path)
    output = tmp_path / "sessions"
    result = job.run(["--runner=PrismRunner", f"--prism_location={PRISM}"], output)
    assert result.code == 0, result.stderr
    assert_equal_output(output, job.expected)


def test_a_newer_log_is_added_as_by_the_direct_runner(tmp_path):
    addition, output, expected = make_addition(tmp_path)
    runner = ["--runner=PrismRunner", f"--prism_location={PRISM}"]
    result = run("beam_pipelines.sessionize", [*runner, *addition], folder=tmp_path)
    assert result.code == 0, result.stderr
    assert_equal_output(output, expected)


def test_a_damaged_file_is_an_error_of_one_line(tmp_path):
    job = make_job(tmp_path)
    damaged = job.listens / "a.jsonl.gz"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    result = job.run(["--runner=PrismRunner", f"--prism_location={PRISM}"], job.expected)
    assert result.code == 2, result.stderr
    assert "a.jsonl.gz is damaged" in result.error
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
