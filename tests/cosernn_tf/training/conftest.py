"""A small workspace, and trainers of a small model on it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.models import create
from cosernn_tf.table import SessionTable
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.training.feed import Feed
from cosernn_tf.training.loop import Trainer
from cosernn_tf.training.precision import precision
from cosernn_tf.workspace import Workspace, open_sessions
from tests.starter import Starter
from tests.workspaces import NUM_CLUSTERS, random_table, write_workspace

CONFIG = TrainConfig(
    model=ModelConfig(lstm_units=6, dense_units=10),
    learning_rate=0.03,
    batch_size=3,
    max_sessions=20,
    max_epochs=15,
)
"""Windows are shorter than users, and batches than the number of windows."""


def open_feed(workspace: Workspace, **options) -> Feed:
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    return Feed(sessions, tracks.vectors, **options)


def new_model(feed: Feed, config: TrainConfig = CONFIG) -> keras.Model:
    keras.utils.set_random_seed(config.seed)
    with precision(config):
        return create(config.model, feed.data_spec()).build()


def make_trainer(
    feed: Feed, run: Path, config: TrainConfig = CONFIG
) -> tuple[keras.Model, Trainer]:
    run.mkdir(parents=True, exist_ok=True)
    model = new_model(feed, config)
    return model, Trainer(model, feed, config, run)


def table_by_hour() -> SessionTable:
    """A log whose music depends on the hour alone, which a small model learns at once."""
    table = random_table(0)
    cluster = np.broadcast_to(table.hour[:, None] // 8, table.track.shape)
    track = table.track - table.track % NUM_CLUSTERS + cluster
    return dataclasses.replace(table, track=np.where(table.track < 0, table.track, track))


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("workspace"), table=table_by_hour())


@pytest.fixture(scope="session")
def feed(workspace) -> Feed:
    return open_feed(workspace)


@pytest.fixture(scope="session")
def trained(feed, tmp_path_factory):
    """An uninterrupted run: its directory, model and history."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    model, trainer = make_trainer(feed, run)
    return run, model, trainer.train()


@pytest.fixture(scope="session")
def starter(tmp_path_factory) -> Iterator[Starter]:
    """Of `cosernn_tf.train`."""
    folder = tmp_path_factory.mktemp("starter")
    starter = Starter("cosernn_tf.train", preload=["cosernn_tf.training.run"], folder=folder)
    yield starter
    starter.close()
