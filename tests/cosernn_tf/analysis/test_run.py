"""A whole analysis of a small workspace: its files, what it says is missing, and its errors."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosernn_tf.analysis.config import AnalysisConfig, AnalyzedSplit
from cosernn_tf.analysis.report import format_text
from cosernn_tf.analysis.result import (
    CONTEXT_SHARES,
    CONTEXT_SIMILARITY,
    IMPROVEMENT,
    NEAREST_SESSIONS,
    SKIP_CORRELATION,
    TABLES,
    Analysis,
)
from cosernn_tf.analysis.run import analyze
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.config import EvaluationConfig
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import Workspace, open_sessions
from tests.workspaces import random_table, split_of, write_sessions, write_tracks, write_workspace

CONFIG = AnalysisConfig(
    sample_sessions=100, sample_listens=500, models=("last_any",), reference="avg_any"
)
"""Draws from some contexts, and takes others whole."""

ALONE = AnalysisConfig(sample_sessions=100, sample_listens=500)
"""Also without an evaluation."""


@pytest.fixture(scope="module")
def table() -> SessionTable:
    return random_table(num_users=20, sessions_per_user=30)


@pytest.fixture(scope="module")
def workspace(table, tmp_path_factory) -> Workspace:
    workspace = write_workspace(tmp_path_factory.mktemp("analysis"), table=table)
    evaluate_runs(workspace, [], config=EvaluationConfig())
    return workspace


@pytest.fixture(scope="module")
def analysis(workspace) -> Analysis:
    return analyze(workspace, config=CONFIG)


def tables(analysis: Analysis) -> dict[str, Any]:
    return dict(analysis.tables)


def almost(found: object, expected: object) -> bool:
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-6, abs=1e-7))
    return found == expected


def assert_same_tables(found: Analysis, expected: Analysis) -> None:
    """Up to rounding, and but for models."""
    for name in (name for name in TABLES if name != IMPROVEMENT):
        rows = zip(tables(found)[name], expected.tables[name], strict=True)
        for row, wanted in rows:
            for column, value in wanted.to_json().items():
                assert almost(row.to_json()[column], value), (name, column, row, wanted)


def test_what_there_was(analysis, table):
    listens = table.track != -1
    # Every eleventh track has no embedding, and -2 is cut.
    embedded = (table.track >= 0) & (table.track % 11 != 0)
    assert dataclasses.asdict(analysis.coverage) == {
        "users": table.num_users,
        "sessions": table.num_sessions,
        "sessions_embedded": embedded.any(axis=1).sum(),
        "listens": listens.sum(),
        "listens_embedded": embedded.sum(),
        "listens_skipped": (table.skipped == 1).sum(),
    }
    assert analysis.notes == ()


def test_every_figure_is_there(analysis):
    for name, rows in analysis.tables.items():
        assert rows, name
    for name in (CONTEXT_SIMILARITY, NEAREST_SESSIONS):
        rows = tables(analysis)[name]
        assert {row.dimension for row in rows} == {"period", "device"}
        assert {row.exact for row in rows} == {True, False}
    assert {(r.model, r.reference) for r in tables(analysis)[IMPROVEMENT]} == {
        ("last_any", "avg_any")
    }


def test_models_are_compared_on_the_means_of_the_evaluation(workspace, analysis):
    metrics = json.loads((workspace.evaluation / "metrics.json").read_text())
    for row in tables(analysis)[IMPROVEMENT]:
        if row.context == "all":
            for model, mean in (
                (row.model, row.model_mean),
                (row.reference, row.reference_mean),
            ):
                assert mean == pytest.approx(metrics["models"][model]["metrics"][row.metric])
            assert row.sessions == metrics["scored"][row.metric]["sessions"]


def test_where_it_comes_from(workspace, analysis):
    sessions = open_sessions(workspace.sessions)
    assert analysis.provenance["sessions_sha256"] == sessions.sha256
    metrics = json.loads((workspace.evaluation / "metrics.json").read_text())
    expected = {
        "folder": str(workspace.evaluation),
        "models": ["last_any"],
        "reference": "avg_any",
        **metrics["provenance"],
    }
    assert analysis.provenance["evaluation"] == expected


def test_files_say_what_was_found(workspace, analysis):
    content = json.loads((workspace.analysis / "analysis.json").read_text())
    assert content == json.loads(json.dumps(analysis.to_json()))
    assert list(content["tables"]) == list(TABLES)
    for name, of_table in content["tables"].items():
        with (workspace.analysis / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(of_table["rows"]) == len(tables(analysis)[name])
        for text, row in zip(rows, of_table["rows"], strict=True):
            assert list(text) == list(row) == of_table["columns"]
            assert text == {key: "" if v is None else str(v) for key, v in row.items()}
    files = {path.name for path in workspace.analysis.iterdir()}
    assert files == {"_SUCCESS", "analysis.json", *(f"{name}.csv" for name in TABLES)}


def test_the_same_again_is_the_same_to_the_last_digit(workspace, analysis, tmp_path):
    again = analyze(workspace, config=CONFIG, output=tmp_path / "again")
    assert again.tables == analysis.tables


@pytest.mark.parametrize("sessions_per_block", [1, 70])
def test_blocks_change_nothing(workspace, analysis, tmp_path, sessions_per_block):
    found = analyze(
        workspace,
        config=CONFIG,
        output=tmp_path / "blocks",
        sessions_per_block=sessions_per_block,
    )
    assert_same_tables(found, analysis)
    assert found.coverage == analysis.coverage


def test_other_shards_change_nothing(table, analysis, tmp_path):
    workspace = Workspace(tmp_path)
    write_tracks(workspace.tracks, write_sessions(workspace.sessions, table, num_shards=7))
    assert_same_tables(analyze(workspace, config=ALONE), analysis)


def test_the_training_split_is_that_of_a_log_that_ends_there(workspace, table, tmp_path):
    config = dataclasses.replace(CONFIG, split=AnalyzedSplit.TRAINING)
    found = analyze(workspace, config=config, output=tmp_path / "training")
    earlier = table.starting_before(split_of(table).validation_start)
    assert found.coverage.sessions == earlier.num_sessions < table.num_sessions
    assert_same_tables(found, analyze(write_workspace(tmp_path, table=earlier), config=ALONE))


def test_a_log_that_tells_little_says_what_is_missing(table, tmp_path):
    """As many public logs: no devices, no skips, no local time."""
    poor = dataclasses.replace(
        table,
        device=np.zeros_like(table.device),
        skipped=np.where(table.skipped == 1, 0, table.skipped),
        hour=table.session_start % 86_400 // 3_600,
        day_of_week=(table.session_start // 86_400 + 3) % 7,
    )
    found = analyze(write_workspace(tmp_path, table=poor), config=ALONE)
    assert [note.partition(":")[0] for note in found.notes] == [
        "The log has no devices",
        "No session has another local time than UTC, as in a log without utc_offset_minutes",
        "No listen is skipped, or the log does not tell",
        "Models are not compared by context",
    ]
    of_device = [row for row in tables(found)[CONTEXT_SHARES] if row.dimension == "device"]
    assert [(row.context, row.session_share) for row in of_device] == [("unknown", 1.0)]
    for name in (CONTEXT_SIMILARITY, NEAREST_SESSIONS):
        assert {row.dimension for row in tables(found)[name]} == {"period"}
    assert {row.correlation for row in tables(found)[SKIP_CORRELATION]} == {None}
    assert tables(found)[IMPROVEMENT] == ()
    text = format_text(found)
    assert all(f"Note: {note}\n" in text for note in found.notes)


def test_a_log_of_which_no_track_has_an_embedding(table, tmp_path):
    workspace = Workspace(tmp_path)
    sessions = write_sessions(workspace.sessions, table)
    write_tracks(workspace.tracks, sessions, vectors=np.zeros((200, 40), np.float32))
    found = analyze(workspace, config=ALONE)
    assert "No track of a session has an embedding: nothing is said of music." in found.notes
    assert found.coverage.sessions_embedded == 0
    assert len(tables(found)[CONTEXT_SHARES]) > 30
    assert tables(found)[CONTEXT_SIMILARITY] == tables(found)[NEAREST_SESSIONS] == ()
    assert {row.sessions for row in tables(found)[SKIP_CORRELATION]} == {0}
    assert "No track" in format_text(found)


def test_one_user_has_figures_without_intervals(table, tmp_path):
    alone = table.select_users(np.array([1]))
    found = analyze(write_workspace(tmp_path, table=alone), config=ALONE)
    for name in TABLES:
        for row in tables(found)[name]:
            values = row.to_json()
            # Wilson's, of a share of users, goes from 0 to 1 or nearly so.
            ends = [key for key in values if key.endswith(("_low", "_high")) and "user" not in key]
            assert ends
            assert {values[key] for key in ends} == {None}, row
    assert "correlation" in format_text(found)


def test_no_session_in_the_split(table, tmp_path):
    # All of the log is of its last two weeks.
    late = table.select_users(np.array([0]))
    workspace = write_workspace(tmp_path, table=late)
    config = dataclasses.replace(ALONE, split=AnalyzedSplit.TRAINING)
    with pytest.raises(UserError, match=r"the training split of .*sessions has no session: "):
        analyze(workspace, config=config)
    assert not workspace.analysis.exists()


def test_what_has_to_be_there(tmp_path):
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match=r"sessions does not exist: run beam_pipelines.sessionize"):
        analyze(workspace, config=CONFIG)
    write_sessions(workspace.sessions, random_table(num_users=2))
    with pytest.raises(UserError, match=r"no track embeddings: run cosernn_tf.embed_tracks first"):
        analyze(workspace, config=ALONE)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["sessions"]


@pytest.mark.parametrize("asked", [{"models": ("a",)}, {"reference": "jodie"}])
def test_an_evaluation_that_was_asked_for_has_to_be_there(table, tmp_path, asked):
    workspace = write_workspace(tmp_path, table=table)
    with pytest.raises(UserError, match=r"evaluation has no evaluation: run cosernn_tf.evaluate"):
        analyze(workspace, config=dataclasses.replace(ALONE, **asked))
    with pytest.raises(UserError, match=r"tables has no evaluation: run cosernn_tf.evaluate"):
        analyze(workspace, config=ALONE, evaluation=tmp_path / "tables")
    assert not workspace.analysis.exists()
