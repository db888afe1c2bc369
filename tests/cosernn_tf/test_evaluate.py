"""`python -m cosernn_tf.evaluate` as a user runs it."""

import json
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.entry_points import Result, run_each
from tests.workspaces import random_table, split_of, write_workspace

from .evaluation.random_runs import write_run

VECTOR = [0.25, -0.5] * 20
CALLS = {
    "all": [],
    "two": [
        "--runs=b,a",
        "--output=two",
        "--save_predictions",
        "--exclude_users=user-3,user-4",
        "--split=validation",
        "--relevance=played",
        "--oracle_seed=7",
        "--catalogue",
        "--bootstrap_resamples=1000",
        "--bootstrap_seed=8",
    ],
    "given": [
        "--runs=a",
        "--predictions=x=given.parquet,given.parquet",
        "--bootstrap_resamples=0",
        "--split=validation",
        "--output=of given",
    ],
}
EARLY_ERRORS = {
    "--split=tset": r"flag --split=tset: value should be one of <test\|validation>",
    "--relevance=skipped": r"flag --relevance=skipped: value should be one of <any\|played>",
    "--bootstrap_seed=-1": r"flag --bootstrap_seed=-1: -1 is not an integer in the range",
    "--bootstrap_resamples=99": (
        r"--bootstrap_resamples=99 must be 0, for no bootstrap, or at least 100"
    ),
    "--oracle_seed=-1": r"flag --oracle_seed=-1: -1 is not an integer in the range",
    "--workspace=nowhere": r"nowhere/sessions does not exist: run beam_pipelines.sessionize first",
    "--predictions=a": r"--predictions=a=a: there is no such file",
    "--predictions=popularity=ws": r"--predictions=popularity=ws has the name of a heuristic",
    "--run=a": r"Unknown command line flag 'run'",
    "a": r"unexpected argument 'a'",
}
"""Found before TensorFlow is imported."""
ERRORS = {
    "--runs=a,c": r"run 'c' does not exist in ws/runs \(there are a, b\)",
    "--predictions=b=given.parquet": r"b=given.parquet has the name of ws/runs/b: choose another",
    "--predictions=x=given.parquet": r"rows of no session of the split: 27 \(first: user 'user-",
    "--output=ws": r"ws exists and is not an older output of this job \(it has no metrics.json\)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With the workspace `ws`, which has two runs."""
    folder = tmp_path_factory.mktemp("evaluate")
    table = random_table(num_users=6, sessions_per_user=60)
    workspace = write_workspace(folder / "ws", table=table)
    for name in ("b", "a"):
        write_run(workspace, name, seed=ord(name))
    rows = [
        {"user_id": user.decode(), "session_start": start, "prediction": VECTOR}
        for user, start in zip(
            table.user_id[table.user_of_session], table.session_start.tolist(), strict=True
        )
        if split_of(table).validation_start <= start < split_of(table).test_start
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "given.parquet")
    return folder


@pytest.fixture(scope="module")
def results(folder) -> dict[str, Result]:
    """In the order of the calls: the errors come last."""
    late = {**CALLS, **{argument: [argument] for argument in ERRORS}}
    return run_all(folder, late, preload="cosernn_tf.evaluation.run") | run_all(
        folder, {argument: [argument] for argument in EARLY_ERRORS}, preload="absl.app"
    )


def run_all(folder: Path, calls: dict[str, list[str]], *, preload: str) -> dict[str, Result]:
    results = run_each(
        "cosernn_tf.evaluate",
        [["--workspace=ws", *arguments] for arguments in calls.values()],
        folder=folder,
        output=folder / f"results with {preload}",
        preload=[preload],
    )
    return dict(zip(calls, results, strict=True))


def printed_rows(text: str) -> dict[str, list[float | None]]:
    """The numbers of the printed table, without marks, by the model's title."""
    titles = "Last, any cxt|Last, same cxt|Avg, any cxt|Avg, same cxt|Popularity|a|b|Oracle \\w+"
    rows: dict[str, list[float | None]] = {}
    for line in text.splitlines():
        if found := re.fullmatch(rf"({titles})  +([->\d.].*)", line):
            cells = re.sub(r"[>*+?]", " ", found[2]).split()
            # Of the catalogue there is a table behind it.
            rows.setdefault(found[1], [None if cell == "-" else float(cell) for cell in cells])
    return rows


@pytest.mark.parametrize(("call", "output"), [("all", "ws/evaluation"), ("two", "two")])
def test_the_printed_table_is_the_means_of_the_scores(folder, results, call, output):
    assert results[call].code == 0, results[call].stderr
    values = defaultdict(list)
    scores = pq.read_table(folder / output / "scores.parquet")
    metrics = scores.column_names[6:15]
    for row in scores.to_pylist():
        for name in metrics:
            values[row["model"], name].append(row[name])
    titles = {
        model["title"]: name
        for name, model in json.loads((folder / output / "metrics.json").read_text())[
            "models"
        ].items()
    }
    rows = printed_rows(results[call].stdout)
    assert list(rows) == list(titles)
    runs = [title for title in rows if title in ("a", "b")]
    assert runs == (["a", "b"] if call == "all" else ["b", "a"])
    assert len(rows) == 9
    for title, cells in rows.items():
        for metric, cell in zip(metrics, cells, strict=True):
            scored = [v for v in values[titles[title], metric] if v is not None]
            assert cell == (pytest.approx(np.mean(scored), abs=5.1e-5) if scored else None)
    assert rows["Last, any cxt"][0] != rows["Oracle half"][0]
    settings = {
        "all": "Split: test. Relevant: any. Excluded users: none.",
        "two": "Split: validation. Relevant: played. Excluded users: user-3, user-4.",
    }
    assert results[call].stdout.endswith(f"\n{settings[call]} Written to {output}\n")


def test_flags_reach_the_evaluation(folder, results):
    two = json.loads((folder / "two/metrics.json").read_text())
    assert two["references"] == ["b", "a"]
    assert "differs from b (paired two-tailed t-test" in results["two"].stdout
    assert two["provenance"]["evaluation"] == {
        "exclude_users": ["user-3", "user-4"],
        "oracle_seed": 7,
        "bootstrap_resamples": 1000,
        "bootstrap_seed": 8,
        "relevance": "played",
        "save_predictions": True,
        "catalogue": True,
        "split": "validation",
    }
    assert two["bootstrap"] == {"cluster": "user", "resamples": 1000, "seed": 8, "level": 0.95}
    assert "with users as clusters" in results["two"].stdout
    assert two["catalogue"]["models"]["b"]["metrics"]["catalogue_rr_100"] > 0
    assert "tracks that have an embedding, ranked for each of" in results["two"].stdout
    assert "ranked for each of" not in results["all"].stdout
    scores = pq.read_table(folder / "two/scores.parquet")
    assert set(scores["user_id"].to_pylist()) == {"user-0", "user-1", "user-2", "user-5"}
    assert len(scores["prediction"][0]) == 40
    assert "prediction" not in pq.read_table(folder / "ws/evaluation/scores.parquet").column_names


def test_given_predictions_stand_behind_the_runs(folder, results):
    assert results["given"].code == 0, results["given"].stderr
    content = json.loads((folder / "of given/metrics.json").read_text())
    assert content["references"] == ["a", "x", "given"]
    assert content["bootstrap"] is None
    assert content["tests"]["a"]["x"]["cosine"]["clustered"] is None
    assert "with users as clusters" not in results["given"].stdout
    rows = [re.split("  +", line) for line in results["given"].stdout.splitlines()]
    found = {row[0]: row[1:] for row in rows if row[0] in ("a", "x", "given")}
    assert list(found) == ["a", "x", "given"]
    assert found["x"] == found["given"] != found["a"]


@pytest.mark.parametrize("argument", [*EARLY_ERRORS, *ERRORS])
def test_errors_are_one_line(results, argument):
    result = results[argument]
    assert result.code == 2
    assert re.search({**EARLY_ERRORS, **ERRORS}[argument], result.error)
    assert result.stdout == ""
    assert argument in ERRORS or result.stderr == f"error: {result.error}\n"


def test_errors_leave_everything_as_it_was(folder, results):
    assert {path.name for path in folder.iterdir() if "results" not in path.name} == {
        *("ws", "two", "of given", "given.parquet")
    }
    assert {path.name for path in (folder / "ws").iterdir()} == {
        "evaluation",
        "runs",
        "sessions",
        "tracks",
    }
    # Still of the first call, which evaluated all.
    content = json.loads((folder / "ws/evaluation/metrics.json").read_text())
    assert content["references"] == ["a", "b"]
    assert content["provenance"]["evaluation"]["split"] == "test"
