"""The benchmark of calibration on few nulls, as a process, and the tests that it compares."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from benchmarks.calibration_tests import TESTS, Sample
from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.metrics import METRICS
from tests.cosernn_tf.evaluation.test_report import make_scores
from tests.entry_points import Result, run, run_each

ROOT = Path(__file__).parents[2]


def benchmark(workspace: Path, *arguments: str) -> Result:
    return run("benchmarks.calibration", [f"--workspace={workspace}", *arguments], folder=ROOT)


def rows_of(result: Result) -> list[dict[str, str]]:
    assert result.code == 0, result.stderr
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in result.stdout.splitlines()
        if line.startswith("|")
    )
    return [dict(zip(head, row, strict=True)) for row in rows]


# The tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> Sample:
    """20 users, and pairs from no difference at all to a clear one."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(20), rng.integers(1, 12, 20))
    of_users = rng.exponential(size=(60, 20))[:, users] - 1
    means = np.linspace(0, 0.7, 60)[:, None]
    return Sample.of(users, means + 0.6 * of_users + 0.4 * rng.normal(size=(60, len(users))))


@pytest.mark.parametrize("name", ["percentile", "BCa"])
def test_intervals_of_means_are_those_of_scipy(sample, name):
    def ratio(sums: np.ndarray, counts: np.ndarray, axis: int) -> np.ndarray:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    found = TESTS[name](sample, Bootstrap(2000, seed=5))
    expected = []
    for sums in sample.sums.sums:
        interval = stats.bootstrap(
            (sums, sample.sums.counts), ratio, paired=True, vectorized=True, n_resamples=2000,
            method=name, rng=np.random.default_rng(6),
        ).confidence_interval  # fmt: skip
        expected.append(not interval.low <= 0 <= interval.high)
    # Of other resamples; they decide otherwise where an end is next to zero.
    assert 15 < sum(expected) < 45
    assert np.count_nonzero(found != expected) <= 2


def test_the_others_by_hand(sample):
    differences = sample.differences
    expected = stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05
    np.testing.assert_array_equal(TESTS["paired t"](sample, Bootstrap(100)), expected)
    # With a session each, a cluster is a session.
    single = Sample.of(np.arange(20), differences[:, :20])
    expected = stats.ttest_1samp(differences[:, :20], 0, axis=1).pvalue < 0.05
    assert 5 < expected.sum() < 55
    np.testing.assert_array_equal(TESTS["clustered t"](single, Bootstrap(100)), expected)


# The benchmark -----------------------------------------------------------------------------------


def test_simulated_differences(tmp_path):
    rows = rows_of(benchmark(tmp_path, "--nulls=20", "--resamples=100"))
    assert len(rows) == 2 * 4 * 2 * 3
    assert list(rows[0])[-5:] == list(TESTS)
    clustered = [row for row in rows if row["users"] == "400" and row["correlation"] == "0.5"]
    assert len(clustered) == 4
    assert np.mean([float(row["paired t"]) for row in clustered]) > 40
    assert np.mean([float(row["ours"]) for row in clustered]) < 20
    kept = json.loads((tmp_path / "benchmarks/calibration-simulated.json").read_text())
    assert kept["options"]["nulls"] == 20
    assert {"cpu", "commit", "packages", "load"} <= set(kept["machine"])
    assert [f"{row['ours']:.1f}" for row in kept["rows"]] == [row["ours"] for row in rows]


def test_differences_of_an_evaluation(tmp_path):
    scores = make_scores(users=20)
    # Nothing is scored by one of the metrics.
    place = scores.column_names.index("ap_100")
    nothing = pa.nulls(scores.num_rows, pa.float64())
    scores = scores.set_column(place, scores.schema.field(place), nothing)
    pq.write_table(scores, tmp_path / "scores.parquet")
    at = f"--scores={tmp_path / 'scores.parquet'}"
    flags = ("--mode=scores", at, "--nulls=40", "--resamples=100")
    rows = rows_of(benchmark(tmp_path, *flags, "--pair=cosernn,last_any"))
    metrics = [metric.name for metric in METRICS if metric.name != "ap_100"]
    assert [row["metric"] for row in rows] == metrics
    assert rows[0]["users"] == "20"
    assert rows[0]["sessions"] == "100"
    assert int(rows[-1]["sessions"]) < 100
    # A shift of all sessions of a user: the paired t-test takes it for five findings.
    assert float(rows[0]["paired t"]) > 2 * float(rows[0]["ours"])
    wrong = benchmark(tmp_path, *flags, "--pair=cosernn,rrn")
    assert wrong.code == 2
    assert re.search(r"--pair=cosernn,rrn: .* has 100 rows of the first and 0 of the", wrong.error)


def test_size(tmp_path):
    flags = ("--users=300", "--models=4", "--references=2", "--resamples=100")
    (row,) = rows_of(benchmark(tmp_path, "--mode=size", *flags))
    # Pairs: 0 with 1, 2 and 3, 1 with 2 and 3.
    assert (row["users"], row["tests"], row["resamples"]) == ("300", "45", "100")
    assert float(row["peak memory, MB"]) >= float(row["before, MB"]) > 10


BAD_FLAGS = {
    "--nulls=0": "--nulls=0 must be at least 1",
    "--resamples=50": "--resamples=50 must be at least 100",
    "--users=4": "--users=4 must be at least 5",
    "--references=16": "--references=16 are more than --models=15",
    "--mode=scores": "--mode=scores and --scores=FILE go together",
    "--pair=a": "--pair=a must name two models",
}


def test_bad_flags_are_refused_at_once(tmp_path):
    results = run_each(
        "benchmarks.calibration",
        [[f"--workspace={tmp_path / 'ws'}", flag] for flag in BAD_FLAGS],
        folder=ROOT,
        output=tmp_path / "results",
        preload=["benchmarks.calibration_runner"],
    )
    for result, text in zip(results, BAD_FLAGS.values(), strict=True):
        assert result.code == 2
        assert text in result.error
    assert not (tmp_path / "ws").exists()
