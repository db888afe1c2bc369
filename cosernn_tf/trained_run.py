"""A finished run with everything that it was trained on, checked to belong together."""

from dataclasses import dataclass
from pathlib import Path

import keras

from cosernn_tf.config import TrainConfig
from cosernn_tf.models.base import MODEL_FILE, load_model
from cosernn_tf.runs import check_run_data, open_run
from cosernn_tf.tracks import TrackEmbeddings, load_track_embeddings
from cosernn_tf.whole_files import file_sha256
from cosernn_tf.workspace import SessionsDirectory, Workspace, open_sessions


@dataclass(frozen=True)
class TrainedRun:
    """Get one from `open_trained_run`."""

    path: Path
    config: TrainConfig
    sessions: SessionsDirectory
    embeddings: TrackEmbeddings
    model: keras.Model
    model_sha256: str
    """Of its file, which may be another one's by now."""


def open_trained_run(workspace: Workspace, name: str) -> TrainedRun:
    """Opens the run `name` of the workspace.

    Raises:
        UserError: There is no such finished run, or the workspace holds other session sequences or
            track embeddings now than the run was trained on.
    """
    path = workspace.run(name)
    config = open_run(path)
    sessions = open_sessions(workspace.sessions)
    embeddings = load_track_embeddings(workspace.tracks, sessions)
    check_run_data(path, sessions, embeddings)
    model_sha256 = file_sha256(path / MODEL_FILE)
    return TrainedRun(path, config, sessions, embeddings, load_model(path), model_sha256)
