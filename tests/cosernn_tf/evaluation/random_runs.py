"""Finished runs whose weights were never trained."""

import dataclasses
import shutil

import keras

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.models import create
from cosernn_tf.models.base import MODEL_FILE
from cosernn_tf.runs import RunIdentity, training_run
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.training.feed import Feed
from cosernn_tf.workspace import Workspace, open_sessions

CONFIG = TrainConfig(model=ModelConfig(lstm_units=6, dense_units=5), max_sessions=10)
"""Its windows are far shorter than what evaluation must let a session see."""


def write_run(
    workspace: Workspace, name: str, *, seed: int = 0, model: ModelConfig = CONFIG.model
) -> None:
    """Writes the run as training would, but for the training; equal seeds give equal weights."""
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    run = workspace.run(name)
    shutil.rmtree(run, ignore_errors=True)
    config = dataclasses.replace(CONFIG, model=model)
    with training_run(run, RunIdentity.of(config, sessions, tracks), overwrite=False):
        keras.utils.set_random_seed(seed)
        feed = Feed(sessions, tracks.vectors)
        create(model, feed.data_spec()).build().save(run / MODEL_FILE)
