"""Models other than CoSeRNN, from sessions to recommendations."""

import dataclasses
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from cosernn_tf.config import MODEL_NAMES
from cosernn_tf.evaluation.config import EvaluationConfig
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.retrieval.held_out import held_out_predictions
from cosernn_tf.retrieval.index import build_index, open_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.run import train_run
from tests.cosernn_tf.training.conftest import CONFIG

LEARNING_ELSEWHERE = {
    "cosernn": "test_loop.py",
    "rrn": "test_loop.py",
    "encore": "test_planted.py",
}


@pytest.mark.parametrize("name", sorted(set(MODEL_NAMES) - LEARNING_ELSEWHERE.keys()))
def test_a_model_is_trained_evaluated_indexed_and_asked(name, workspace, tmp_path):
    model = dataclasses.replace(CONFIG.model, name=name, pathways=())
    config = dataclasses.replace(CONFIG, model=model)
    run_directory = train_run(workspace, config, run=name)
    history = json.loads((run_directory / "history.json").read_text())
    learnt = [epoch["validation_cosine"] for epoch in history]
    assert max(learnt) > max(learnt[0] + 0.1, 0.6)
    summary = evaluate_runs(workspace, [name], config=EvaluationConfig(), output=tmp_path / "out")
    cosines = {model.name: model.means["cosine"] for model in summary.models}
    assert cosines[name] > cosines["popularity"] + 0.2

    run = open_trained_run(workspace, name)
    assert run.config == config
    feed = Feed(run.sessions, run.embeddings.vectors, inputs=run.config.model.inputs)
    assert len(feed.data_spec().users) == (0 if name == "latent_cross" else 11)
    queries = held_out_predictions(run.model, feed, max_sessions=20)
    build_index(run.embeddings, queries, run.path / INDEX)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1.0, atol=1e-6)
    assert open_index(run.path / INDEX, run.embeddings).description.queries == len(queries)

    recommender = Recommender.open(workspace, name)
    moment = datetime(2019, 6, 1, 8, tzinfo=UTC)
    answers = [
        recommender.recommend_from_log(user.decode(), Context(moment, "mobile"), 5)
        for user in next(feed.blocks()).table.user_id
    ]
    assert all(answer.long_term_attention is None for answer in answers)
    assert all(len(answer.tracks) == 5 for answer in answers)
