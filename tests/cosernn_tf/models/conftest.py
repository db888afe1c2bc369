"""A small model with random weights, and batches of a random log."""

import keras
import pytest

from cosernn_tf.config import ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models import create
from cosernn_tf.models.base import DataSpec, LogStatistics
from cosernn_tf.windows import SequenceData, sequence_data
from tests.cosernn_tf.models.oracle import randomize
from tests.workspaces import STREAM_SOURCES, random_embeddings, random_table

DATA = DataSpec(len(STREAM_SOURCES), LogStatistics(1.7, 0.6), LogStatistics(9.5, 1.3))


@pytest.fixture(scope="session")
def model() -> keras.Model:
    model = create(ModelConfig(lstm_units=6, dense_units=5), DATA).build()
    randomize(model, seed=0)
    return model


@pytest.fixture(scope="session")
def table():
    return random_table(3, num_users=6, sessions_per_user=9)


@pytest.fixture(scope="session")
def data(table) -> SequenceData:
    return sequence_data(table, embed_sessions(table, random_embeddings()))
