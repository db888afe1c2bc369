"""Which runs are evaluated, and what is refused: each leaves the older evaluation as it was."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.evaluation import heuristics
from cosernn_tf.evaluation.config import (
    METRICS_FILE,
    EvaluatedSplit,
    EvaluationConfig,
    PredictionFile,
)
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.models.base import MODEL_FILE
from cosernn_tf.runs import is_finished
from cosernn_tf.workspace import SUCCESS, Workspace, open_sessions
from tests.workspaces import random_table, split_of, write_sessions, write_tracks, write_workspace

from .random_runs import write_run


@pytest.fixture
def small(tmp_path) -> Workspace:
    return write_workspace(tmp_path / "small", table=random_table(num_users=3))


def models_of(workspace: Workspace, runs) -> list[str]:
    summary = evaluate_runs(workspace, runs, config=EvaluationConfig())
    return [model.name for model in summary.models]


def test_by_default_all_finished_runs_of_the_data_are_evaluated(small, caplog):
    heuristics_and_oracles = [*heuristics.HEURISTICS, *heuristics.ORACLES]
    assert models_of(small, None) == heuristics_and_oracles
    assert "no finished run: heuristics and oracles only" in caplog.text
    caplog.clear()
    for name in ("b", "a", "stale", "unfinished", "popularity", ".hidden"):
        write_run(small, name)
    (small.run("unfinished") / SUCCESS).unlink()
    config = small.run("stale") / "config.json"
    config.write_text(config.read_text().replace('"sessions_sha256": "', '"sessions_sha256": "0'))
    assert [name for name in models_of(small, None) if name not in heuristics_and_oracles] == [
        "a",
        "b",
    ]
    for name, reason in (
        ("stale", "other session sequences"),
        ("unfinished", "not a finished run"),
        ("popularity", "the name of a heuristic"),
    ):
        assert any(name in line and reason in line for line in caplog.messages)
    assert not is_finished(small.run("unfinished"))
    assert models_of(small, []) == heuristics_and_oracles


@pytest.mark.parametrize(
    ("spoil", "name", "message"),
    [
        (
            lambda w: write_tracks(w.tracks, open_sessions(w.sessions), seed=9),
            "a",
            "other track embeddings",
        ),
        (lambda w: w.run("a").rename(w.run("avg_any")), "avg_any", "the name of a heuristic"),
        (lambda w: None, "b", r"'b' does not exist in .* \(there are a\)"),
        (lambda w: None, "", r"--runs= has an empty name"),
        (lambda w: (w.run("a") / SUCCESS).unlink(), "a", "not a finished run"),
        (lambda w: (w.run("a") / MODEL_FILE).unlink(), "a", "no trained model"),
    ],
    ids=["other embeddings", "reserved", "unknown", "empty", "unfinished", "no model"],
)
def test_a_named_run_that_cannot_be_evaluated(small, spoil, name, message):
    write_run(small, "a")
    models_of(small, [])
    before = {path: path.read_bytes() for path in small.evaluation.iterdir()}
    spoil(small)
    with pytest.raises(UserError, match=message) as error:
        models_of(small, [name])
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in small.evaluation.iterdir()} == before


def test_nothing_to_score(small, tmp_path):
    models_of(small, [])
    before = (small.evaluation / METRICS_FILE).read_bytes()
    table = random_table(num_users=3)
    # Everything in the test split is skipped.
    skipped = np.where(
        (table.session_start >= split_of(table).test_start)[:, None] & (table.skipped == 0),
        1,
        table.skipped,
    )
    sessions = write_sessions(small.sessions, dataclasses.replace(table, skipped=skipped))
    write_tracks(small.tracks, sessions)
    in_test = int((table.session_start >= split_of(table).test_start).sum())
    with pytest.raises(UserError, match=f"test split of .* no session to score: {in_test} sess"):
        evaluate_runs(small, [], config=EvaluationConfig())
    everyone = tuple(user.decode() for user in table.user_id)
    with pytest.raises(UserError, match=r"0 sessions of users not in --exclude_users \(3\)"):
        evaluate_runs(small, [], config=EvaluationConfig(exclude_users=everyone))
    assert (small.evaluation / METRICS_FILE).read_bytes() == before
    assert [path.name for path in small.root.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("catalogue", [False, True])
def test_a_split_without_a_session(small, tmp_path, catalogue):
    table = random_table(num_users=3)
    split = split_of(table)
    in_validation = table.starts_within(split.validation_start, split.test_start)
    assert in_validation.any()
    # They start with the test split instead.
    moved = np.where(in_validation, split.test_start, table.session_start)
    sessions = write_sessions(small.sessions, dataclasses.replace(table, session_start=moved))
    write_tracks(small.tracks, sessions)
    rows = pa.table({"user_id": [""], "session_start": [1], "prediction": [[1.0] * 40]})
    pq.write_table(rows.slice(0, 0), tmp_path / "none.parquet")
    with pytest.raises(UserError, match=r"the validation split of .* has no session to score: 0 s"):
        evaluate_runs(
            small,
            [],
            config=EvaluationConfig(split=EvaluatedSplit.VALIDATION, catalogue=catalogue),
            predictions=[PredictionFile("none", tmp_path / "none.parquet")],
        )
    assert not small.evaluation.exists()


def test_an_output_that_is_something_else_is_not_replaced(small):
    for other in (small.root, small.sessions):
        with pytest.raises(UserError, match=f"{METRICS_FILE}.*not replaced"):
            evaluate_runs(small, [], config=EvaluationConfig(), output=other)
    open_sessions(small.sessions)
