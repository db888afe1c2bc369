"""A whole analysis of a small workspace: its files, what it says is missing, and its errors."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from cosernn_tf.analysis.config import AnalysisConfig, AnalyzedSplit
from cosernn_tf.analysis.report import format_text
from cosernn_tf.analysis.result import TABLES, Analysis
from cosernn_tf.analysis.run import analyze
from cosernn_tf.errors import UserError
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import Workspace
from tests.workspaces import random_table, split_of, write_sessions, write_tracks, write_workspace

CONFIG = AnalysisConfig()


@pytest.fixture(scope="module")
def table() -> SessionTable:
    return random_table(num_users=20, sessions_per_user=30)


@pytest.fixture(scope="module")
def workspace(table, tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("analysis"), table=table)


@pytest.fixture(scope="module")
def analysis(workspace) -> Analysis:
    return analyze(workspace, config=CONFIG)


def almost(found: object, expected: object) -> bool:
    if isinstance(expected, float):
        return bool(found == pytest.approx(expected, rel=1e-6, abs=1e-7))
    return found == expected


def assert_same_tables(found: Analysis, expected: Analysis) -> None:
    """Up to rounding."""
    for name in TABLES:
        rows = zip(found.tables[name], expected.tables[name], strict=True)
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


def test_files_say_what_was_found(workspace, analysis):
    content = json.loads((workspace.analysis / "analysis.json").read_text())
    assert content == json.loads(json.dumps(analysis.to_json()))
    assert list(content["tables"]) == list(TABLES)
    for name, of_table in content["tables"].items():
        with (workspace.analysis / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(of_table["rows"]) == len(analysis.tables[name])
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
    assert_same_tables(analyze(workspace, config=CONFIG), analysis)


def test_the_training_split_is_that_of_a_log_that_ends_there(workspace, table, tmp_path):
    config = dataclasses.replace(CONFIG, split=AnalyzedSplit.TRAINING)
    found = analyze(workspace, config=config, output=tmp_path / "training")
    earlier = table.starting_before(split_of(table).validation_start)
    assert found.coverage.sessions == earlier.num_sessions < table.num_sessions
    assert_same_tables(found, analyze(write_workspace(tmp_path, table=earlier), config=CONFIG))


def test_a_log_that_tells_little_says_what_is_missing(table, tmp_path):
    """As many public logs: no devices, no skips, no local time."""
    poor = dataclasses.replace(
        table,
        device=np.zeros_like(table.device),
        skipped=np.where(table.skipped == 1, 0, table.skipped),
        hour=table.session_start % 86_400 // 3_600,
        day_of_week=(table.session_start // 86_400 + 3) % 7,
    )
    found = analyze(write_workspace(tmp_path, table=poor), config=CONFIG)
    assert [note.partition(":")[0] for note in found.notes] == [
        "The log has no devices",
        "No session has another local time than UTC, as in a log without utc_offset_minutes",
        "No listen is skipped, or the log does not tell",
    ]
    text = format_text(found)
    assert all(f"Note: {note}\n" in text for note in found.notes)


def test_no_session_in_the_split(table, tmp_path):
    # All of the log is of its last two weeks.
    late = table.select_users(np.array([0]))
    workspace = write_workspace(tmp_path, table=late)
    config = dataclasses.replace(CONFIG, split=AnalyzedSplit.TRAINING)
    with pytest.raises(UserError, match=r"the training split of .*sessions has no session: "):
        analyze(workspace, config=config)
    assert not workspace.analysis.exists()


def test_what_has_to_be_there(tmp_path):
    workspace = Workspace(tmp_path)
    with pytest.raises(UserError, match=r"sessions does not exist: run beam_pipelines.sessionize"):
        analyze(workspace, config=CONFIG)
    write_sessions(workspace.sessions, random_table(num_users=2))
    with pytest.raises(UserError, match=r"no track embeddings: run cosernn_tf.embed_tracks first"):
        analyze(workspace, config=CONFIG)
    assert [path.name for path in Path(tmp_path).iterdir()] == ["sessions"]
