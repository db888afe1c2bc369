"""A workspace to evaluate: a log of the embedded generator, and a run that was never trained."""

import sys
from pathlib import Path

import keras

from benchmarks.measure import measure
from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.models import create
from cosernn_tf.models.base import MODEL_FILE
from cosernn_tf.provenance import ROOT
from cosernn_tf.runs import RunIdentity, training_run
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.training.feed import Feed
from cosernn_tf.workspace import SUCCESS, Workspace, open_sessions


def make_workspace(directory: Path, *, num_users: int, num_tracks: int, seed: int) -> Workspace:
    """A log, its session sequences and track embeddings; what is there is used again."""
    workspace = Workspace(directory / f"evaluated-{num_users}-{num_tracks}-{seed}")
    here = f"--workspace={workspace.root}"
    size = (f"--num_users={num_users}", f"--num_tracks={num_tracks}", f"--seed={seed}")
    log, playlists = workspace.log, workspace.log / "playlists.jsonl.gz"
    for output, module, flags in (
        (log, "beam_pipelines.synthesize", size),
        (
            workspace.sessions,
            "beam_pipelines.sessionize",
            (f"--listens={log / 'listens'}", f"--users={log / 'users.parquet'}"),
        ),
        (workspace.tracks, "cosernn_tf.embed_tracks", (f"--playlists={playlists}", "--epochs=1")),
    ):
        if not (output / SUCCESS).is_file():
            command = (sys.executable, "-m", module, here, *flags)
            measure(command, folder=ROOT, log=directory / "evaluated.log")
    return workspace


def write_untrained_run(
    workspace: Workspace, *, lstm_units: int, max_sessions: int, seed: int
) -> str:
    """Writes a CoSeRNN with random weights as a finished run, and gives its name."""
    name = f"untrained-{lstm_units}-{max_sessions}"
    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    model = ModelConfig(lstm_units=lstm_units)
    config = TrainConfig(model=model, max_sessions=max_sessions, seed=seed)
    run = workspace.run(name)
    if not (run / SUCCESS).is_file():
        with training_run(run, RunIdentity.of(config, sessions, tracks), overwrite=False):
            keras.utils.set_random_seed(seed)
            feed = Feed(sessions, tracks.vectors, inputs=model.inputs)
            create(model, feed.data_spec()).build().save(run / MODEL_FILE)
    return name
