"""Predictions over windows: each target once, with the value of the uncut sequence."""

import keras
import numpy as np
import pytest

from cosernn_tf import prediction
from cosernn_tf.config import ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models import create
from cosernn_tf.models.base import ATTENTION, PREDICTION
from cosernn_tf.models.data_spec import DataSpec, LogStatistics
from cosernn_tf.prediction import Predictor
from cosernn_tf.windows import Windows, evaluation_windows, make_batch, sequence_data
from tests.workspaces import STREAM_SOURCES, random_embeddings, random_table, split_of


@pytest.fixture(scope="module")
def table():
    return random_table(6, num_users=9, sessions_per_user=30)


@pytest.fixture(scope="module")
def data(table):
    return sequence_data(table, embed_sessions(table, random_embeddings()))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    statistics = LogStatistics(2.0, 1.0)
    spec = DataSpec(len(STREAM_SOURCES), statistics, statistics)
    return create(ModelConfig(lstm_units=6, dense_units=5), spec).build()


@pytest.fixture(scope="module")
def predictor(model):
    return Predictor(model)


def test_every_session_of_the_split_is_predicted_as_in_the_uncut_sequence(
    table, data, model, predictor, monkeypatch
):
    # Several batches, of windows of unlike length.
    monkeypatch.setattr(prediction, "_WINDOWS_PER_BATCH", 4)
    first = split_of(table).validation_start
    windows = evaluation_windows(table, first=first, before=None, max_sessions=400)
    found = predictor(data, windows)
    np.testing.assert_array_equal(found.sessions, np.flatnonzero(table.session_start >= first))
    for user in range(table.num_users):
        start, end = table.row_splits[user : user + 2]
        one = Windows(*(np.array([value]) for value in (user, start, start, end)))
        outputs = model(make_batch(data.only(predictor.inputs), one).inputs)
        rows = np.flatnonzero((found.sessions >= start) & (found.sessions < end))
        steps = found.sessions[rows] - start
        for name, values in ((PREDICTION, found.embeddings), (ATTENTION, found.attention)):
            np.testing.assert_allclose(values[rows], outputs[name].numpy()[0, steps], atol=1e-6)


def test_short_windows_still_give_every_session_once(table, data, predictor):
    windows = evaluation_windows(table, first=0, before=None, max_sessions=6)
    found = predictor(data, windows)
    np.testing.assert_array_equal(found.sessions, np.arange(table.num_sessions))
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1.0, atol=1e-6)


def test_no_windows_are_no_predictions(table, data, predictor):
    windows = evaluation_windows(table, first=2**62, before=None, max_sessions=6)
    found = predictor(data, windows)
    assert found.sessions.shape == (0,)
    assert found.embeddings.shape == (0, 40)


def test_one_trace_serves_every_shape(table, data, predictor):
    for max_sessions in (3, 11, 400):
        predictor(data, evaluation_windows(table, first=0, before=None, max_sessions=max_sessions))
    assert predictor.traces == 1
