"""A finished run whose weights were never trained."""

import dataclasses

import keras

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.models import create
from cosernn_tf.models.base import MODEL_FILE
from cosernn_tf.runs import RunIdentity, training_run
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.trained_run import TrainedRun, open_trained_run
from cosernn_tf.training.feed import Feed
from cosernn_tf.workspace import Workspace, open_sessions

CONFIG = TrainConfig(model=ModelConfig(lstm_units=8, dense_units=6), max_sessions=10)


def write_run(workspace: Workspace, name: str, *, model: ModelConfig = CONFIG.model) -> TrainedRun:
    """Writes the run as training would, but for the training and the index."""
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    identity = RunIdentity.of(dataclasses.replace(CONFIG, model=model), sessions, tracks)
    with training_run(workspace.run(name), identity, overwrite=False):
        keras.utils.set_random_seed(5)
        data = Feed(sessions, tracks.vectors).data_spec()
        create(model, data).build().save(workspace.run(name) / MODEL_FILE)
    return open_trained_run(workspace, name)
