"""`python -m cosernn_tf.analyze` as a user runs it."""

import json
import re
from pathlib import Path

import pytest

from tests.entry_points import Result, run_each
from tests.workspaces import random_table, write_workspace

CALLS = {
    "plain": [],
    "flags": [
        "--split=training",
        "--seed=5",
        "--sample_sessions=40",
        "--sample_listens=50",
        "--output=other",
    ],
}
EARLY_ERRORS = {
    "--split=test": r"flag --split=test: value should be one of <all\|training>",
    "--seed=-1": r"flag --seed=-1: -1 is not an integer in the range",
    "--sample_sessions=0": r"flag --sample_sessions=0: 0 is not a positive integer",
    "--sample_listens=1": r"flag --sample_listens=1: 1 is not integer >= 2",
    "--workspace=nowhere": r"nowhere/sessions does not exist: run beam_pipelines.sessionize first",
    "--run=a": r"Unknown command line flag 'run'",
    "a": r"unexpected argument 'a'",
}
"""Found before anything heavy is imported."""
ERRORS = {
    "--models=a,b": r"ws/evaluation has no evaluation: run cosernn_tf.evaluate first",
    "--reference=jodie": r"ws/evaluation has no evaluation: run cosernn_tf.evaluate first",
    "--evaluation=there": r"there has no evaluation: run cosernn_tf.evaluate first",
    "--output=ws": r"ws exists and is not an older output of this job \(it has no analysis.json\)",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With the workspace `ws`."""
    folder = tmp_path_factory.mktemp("analyze")
    write_workspace(folder / "ws", table=random_table(num_users=8, sessions_per_user=30))
    return folder


@pytest.fixture(scope="module")
def results(folder) -> dict[str, Result]:
    late = {**CALLS, **{argument: [argument] for argument in ERRORS}}
    return run_all(folder, late, preload="cosernn_tf.analysis.run") | run_all(
        folder, {argument: [argument] for argument in EARLY_ERRORS}, preload="absl.app"
    )


def run_all(folder: Path, calls: dict[str, list[str]], *, preload: str) -> dict[str, Result]:
    results = run_each(
        "cosernn_tf.analyze",
        [["--workspace=ws", *arguments] for arguments in calls.values()],
        folder=folder,
        output=folder / f"results with {preload}",
        preload=[preload],
    )
    return dict(zip(calls, results, strict=True))


def test_what_is_printed_is_what_is_written(folder, results):
    assert results["plain"].code == 0, results["plain"].stderr
    tables = json.loads((folder / "ws/analysis/analysis.json").read_text())["tables"]
    printed = results["plain"].stdout
    for row in tables["context_shares"]["rows"]:
        if row["dimension"] != "hour":
            share = f"{100 * row['session_share']:.1f} ["
            line = rf"^{row['context']} +{row['sessions']} +{re.escape(share)}"
            assert re.search(line, printed, re.MULTILINE), row
    for row in tables["context_similarity"]["rows"]:
        mean, low, high = (row[f"mean{end}"] for end in ("", "_low", "_high"))
        assert f"  {mean:.4f} [{low:.4f}, {high:.4f}]  " in printed, row
    for row in tables["skip_correlation"]["rows"]:
        if not row["sessions"]:
            continue
        line = rf"^{row['min_skips']} +{row['sessions']:,} "
        if (slope := row["slope"]) is not None:
            line += rf".* {slope:.3f} \["
        assert re.search(line, printed, re.MULTILINE), row
    for row in tables["nearest_sessions"]["rows"]:
        line = rf"^{row['source']} +{row['sources']:,} .* {round(100 * row['excess'], 1) + 0.0:.1f}"
        assert re.search(line, printed, re.MULTILINE), row
    assert "\nNote: Models are not compared by context: ws/evaluation has no" in printed
    assert printed.endswith("\nSplit: all. Written to ws/analysis\n")
    assert "analyze: " in results["plain"].stderr


def test_flags_reach_the_analysis(folder, results):
    assert results["flags"].code == 0, results["flags"].stderr
    options = json.loads((folder / "other/analysis.json").read_text())["options"]
    assert options == {
        "split": "training",
        "seed": 5,
        "sample_sessions": 40,
        "sample_listens": 50,
        "models": None,
        "reference": None,
    }
    assert results["flags"].stdout.endswith("\nSplit: training. Written to other\n")


@pytest.mark.parametrize("argument", [*EARLY_ERRORS, *ERRORS])
def test_errors_are_one_line(results, argument):
    result = results[argument]
    assert result.code == 2
    assert re.search({**EARLY_ERRORS, **ERRORS}[argument], result.error)
    assert result.stdout == ""
    assert argument in ERRORS or result.stderr == f"error: {result.error}\n"
