"""Small models with random weights, and batches of a random log."""

import functools
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from cosernn_tf.config import ARCHITECTURES, MODEL_NAMES, ModelConfig
from cosernn_tf.features import embed_sessions
from cosernn_tf.models import create
from cosernn_tf.models.base import inputs_of
from cosernn_tf.models.data_spec import DataSpec, LogStatistics
from cosernn_tf.schema import FEATURES, PATHWAYS
from cosernn_tf.table import SessionTable
from cosernn_tf.windows import Batch, SequenceData, Windows, sequence_data
from tests.cosernn_tf.models.oracle import randomize
from tests.workspaces import STREAM_SOURCES, random_embeddings, random_table

USERS = ("user-1", "user-3", "user-4")
"""Whom models know of the table's six users."""
DATA = DataSpec(len(STREAM_SOURCES), LogStatistics(1.7, 0.6), LogStatistics(9.5, 1.3), USERS)


def small(name: str = "cosernn", **fields) -> ModelConfig:
    return ModelConfig(name=name, lstm_units=6, dense_units=5, **fields)


DEFAULTS = {name: small(name) for name in MODEL_NAMES}
CASES = {
    **DEFAULTS,
    **{
        f"cosernn of {','.join(pathways)}": small(pathways=pathways)
        for pathways in (("all",), ("played",), PATHWAYS)
    },
    **{
        f"cosernn up to {FEATURES[number - 1]}": small(features=FEATURES[:number])
        for number in (1, 2, 3, 4, 6)
    },
    "cosernn of context": small(features=("context",)),
    "jodie of gap": small("jodie", features=("gap",), pathways=("skipped",)),
    "rrn with current_stream_source": small("rrn", features=FEATURES),
    "latent_cross of played": small("latent_cross", pathways=("played",)),
    "encore of all pathways": small("encore", pathways=PATHWAYS),
    "encore of what it needs": small("encore", features=("last_session", "gap")),
    "encore with current_stream_source": small("encore", features=FEATURES, pathways=("all",)),
}
"""Every model, and every row of Tables 3 and 4."""


def _ablations() -> dict[str, ModelConfig]:
    """Each pathway of each model alone, and each feature that it can do without left out once."""
    found = {}
    for architecture in ARCHITECTURES:
        free = [name for name in FEATURES if name not in architecture.needs]
        for number, pathway in enumerate(PATHWAYS):
            gone = free[number :: len(PATHWAYS)]
            features = tuple(name for name in FEATURES if name not in gone)
            found[f"{architecture.name} of {pathway} without {','.join(gone)}"] = small(
                architecture.name, features=features, pathways=(pathway,)
            )
    return found


ABLATIONS = _ablations()


@functools.cache
def build(config: ModelConfig) -> keras.Model:
    """With weights and biases that are not small."""
    model = create(config, DATA).build()
    randomize(model, seed=0)
    return model


def call(model: keras.Model, batch: Batch, **options) -> Mapping[str, Any]:
    return model({name: batch.inputs[name] for name in inputs_of(model)}, **options)


def whole_users(table: SessionTable) -> Windows:
    starts, ends = table.row_splits[:-1], table.row_splits[1:]
    return Windows(np.arange(table.num_users), starts, starts, ends)


@pytest.fixture(params=CASES)
def config(request) -> ModelConfig:
    return CASES[request.param]


@pytest.fixture(params=DEFAULTS)
def default(request) -> ModelConfig:
    return DEFAULTS[request.param]


@pytest.fixture(scope="session")
def table() -> SessionTable:
    return random_table(3, num_users=6, sessions_per_user=9)


@pytest.fixture(scope="session")
def data(table) -> SequenceData:
    """With all inputs."""
    return sequence_data(table, embed_sessions(table, random_embeddings()))
