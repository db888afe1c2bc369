"""The sample of predictions on which an index is measured."""

import numpy as np
import pytest

from cosernn_tf.dataset import read_all
from cosernn_tf.features import embed_sessions
from cosernn_tf.prediction import Predictor
from cosernn_tf.retrieval.held_out import held_out_predictions
from cosernn_tf.trained_run import TrainedRun
from cosernn_tf.training.feed import Feed
from cosernn_tf.windows import evaluation_windows, sequence_data
from tests.workspaces import write_workspace

from .runs import write_run

MAX_SESSIONS = 60


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TrainedRun:
    return write_run(write_workspace(tmp_path_factory.mktemp("workspace")), "small")


@pytest.fixture(scope="module")
def validation(run) -> np.ndarray:
    """Predictions of all validation sessions, found one by one in those of all sessions."""
    table = read_all(run.sessions)
    data = sequence_data(table, embed_sessions(table, run.embeddings.vectors))
    windows = evaluation_windows(table, first=0, before=None, max_sessions=MAX_SESSIONS)
    predictions = Predictor(run.model)(data, windows)
    split = run.sessions.manifest.split
    return np.array(
        [
            embedding
            for session, embedding in zip(predictions.sessions, predictions.embeddings, strict=True)
            if split.validation_start <= table.session_start[session] < split.test_start
        ]
    )


def places(sample: np.ndarray, among: np.ndarray) -> list[int]:
    """The row of `among` that each row of `sample` is equal to."""
    distances = np.abs(sample[:, None] - among[None]).max(axis=2)
    assert (distances.min(axis=1) < 1e-5).all()
    return distances.argmin(axis=1).tolist()


@pytest.mark.parametrize("sessions_per_block", [10, 10_000])
@pytest.mark.parametrize("limit", [1, 7, 25])
def test_a_sample_has_different_validation_sessions(run, validation, limit, sessions_per_block):
    feed = Feed(run.sessions, run.embeddings.vectors, sessions_per_block=sessions_per_block)
    sample = held_out_predictions(run.model, feed, max_sessions=MAX_SESSIONS, limit=limit)
    assert sample.shape == (limit, 40)
    assert len(set(places(sample, validation))) == limit


@pytest.mark.parametrize("sessions_per_block", [10, 10_000])
def test_a_small_split_is_taken_whole(run, validation, sessions_per_block):
    feed = Feed(run.sessions, run.embeddings.vectors, sessions_per_block=sessions_per_block)
    sample = held_out_predictions(run.model, feed, max_sessions=MAX_SESSIONS, limit=1_000)
    assert sorted(places(sample, validation)) == list(range(len(validation)))


def test_the_same_sample_every_time(run):
    feed = Feed(run.sessions, run.embeddings.vectors)
    first, second = (
        held_out_predictions(run.model, feed, max_sessions=MAX_SESSIONS, limit=9) for _ in "ab"
    )
    np.testing.assert_array_equal(first, second)
