"""A log that ends earlier gives the same scores, and the same recommendations, as far as it goes.

For every model, heuristic and oracle.
"""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.config import ModelConfig
from cosernn_tf.evaluation.config import SCORES_FILE, EvaluationConfig
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.models import MODELS
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import SECONDS_PER_DAY, SESSION_FEATURES, Per
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.workspace import Workspace
from tests.workspaces import random_table, split_of, write_workspace

from .random_runs import write_run

TABLE = random_table(num_users=9, sessions_per_user=120)
END = split_of(TABLE).test_start + 6 * SECONDS_PER_DAY


def truncated(table: SessionTable, end: int) -> SessionTable:
    """Without the sessions from `end` on, but for the last of all: it tells where splits are."""
    keep = table.session_start < end
    keep[np.argmax(table.session_start)] = True
    lengths = np.bincount(table.user_of_session[keep], minlength=table.num_users)
    columns = {
        feature.name: getattr(table, feature.name)[keep]
        for feature in SESSION_FEATURES
        if feature.per is not Per.USER
    }
    splits = np.concatenate([[0], np.cumsum(lengths)])
    return dataclasses.replace(table, row_splits=splits, **columns)


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory) -> list[Workspace]:
    """Of the whole log and of the truncated one, with runs of equal weights."""
    found = []
    for name, table in (("whole", TABLE), ("truncated", truncated(TABLE, END))):
        workspace = write_workspace(tmp_path_factory.mktemp(name) / "workspace", table=table)
        for model in MODELS:
            write_run(workspace, model, model=ModelConfig(model, lstm_units=6, dense_units=5))
        found.append(workspace)
    return found


def scores_until_end(workspace: Workspace, output: Path) -> pa.Table:
    config = EvaluationConfig(save_predictions=True)
    evaluate_runs(workspace, list(MODELS), config=config, output=output)
    scores = pq.read_table(output / SCORES_FILE)
    scores = scores.filter(pa.compute.field("session_start") < END)
    return scores.sort_by([(k, "ascending") for k in ("model", "user_id", "session_start")])


def test_scores_are_those_of_the_whole_log(workspaces, tmp_path):
    whole, cut = (
        scores_until_end(workspace, tmp_path / str(number))
        for number, workspace in enumerate(workspaces)
    )
    assert TABLE.num_sessions > truncated(TABLE, END).num_sessions + 50
    assert set(whole["model"].to_pylist()) == {*HEURISTICS, *MODELS, *ORACLES}
    assert whole.num_rows == cut.num_rows > 100 * len(MODELS)
    for name in whole.column_names:
        ours, theirs = whole[name], cut[name]
        if name == "prediction":
            ours, theirs = pa.compute.list_flatten(ours), pa.compute.list_flatten(theirs)
        if name in ("cosine", "prediction"):
            # The last bits depend on what else is in the batch.
            np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), atol=2e-6)
        else:
            assert ours.equals(theirs), name
    assert whole["ap_25"].null_count < whole.num_rows


@pytest.mark.parametrize("model", MODELS)
def test_recommendations_of_a_moment_rest_on_what_was_before(workspaces, model):
    answers = []
    for workspace in workspaces:
        run = open_trained_run(workspace, model)
        if not (run.path / INDEX).exists():
            build_index(run.embeddings, run.embeddings.vectors[1:6], run.path / INDEX)
        recommender = Recommender.open(workspace, model)
        for user in ("user-2", "user-5"):
            for day in (1, 5):
                at = datetime.fromtimestamp(END - day * SECONDS_PER_DAY, UTC)
                answers.append(recommender.recommend_from_log(user, Context(at, "mobile"), 7))
    half = len(answers) // 2
    for ours, theirs in zip(answers[:half], answers[half:], strict=True):
        assert ours.earlier_sessions == theirs.earlier_sessions > 20
        assert [t.track_id for t in ours.tracks] == [t.track_id for t in theirs.tracks]
        found, expected = ([t.score for t in answer.tracks] for answer in (ours, theirs))
        np.testing.assert_allclose(found, expected, atol=1e-6)
    # A later moment, or another user, is another answer.
    assert len({answer.tracks[0].score for answer in answers[:half]}) == half
