"""Session sequences to train on, and a feed of them; tracks are embedded at random."""

import shutil
import sys
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.logs import LISTENS, LogConfig, write_log
from benchmarks.measure import measure
from cosernn_tf.provenance import ROOT
from cosernn_tf.schema import EMBEDDING_DIM
from cosernn_tf.training.feed import SESSIONS_PER_BLOCK, Feed
from cosernn_tf.workspace import SUCCESS, Workspace, open_sessions

_TRACKS: Final = 20_000


class _Log(LogConfig):
    """Has as many tracks whatever its size, so that of two of them only the users differ."""

    @property
    def num_tracks(self) -> int:
        return _TRACKS


def make_sessions(directory: Path, *, num_listens: int, seed: int) -> Path:
    """Session sequences of a log: 500 listens a user, a tenth of the users has 60 %, 20,000 tracks.

    Those that are there are used again; the log is not kept.
    """
    sessions = directory / f"sessions-{num_listens}-{seed}"
    if (sessions / SUCCESS).is_file():
        return sessions
    log = directory / f"log-{num_listens}-training-{seed}"
    write_log(_Log(num_listens=num_listens, seed=seed), log)
    _sessionize(f"--listens={log / LISTENS}", f"--output={sessions}", directory=directory)
    shutil.rmtree(log)
    return sessions


def default_sessions(directory: Path) -> Path:
    """Session sequences of the embedded default log, whose users have as many as the paper's."""
    workspace = Workspace(directory / "default")
    if not (workspace.sessions / SUCCESS).is_file():
        _sessionize(f"--workspace={workspace.root}", directory=directory)
    return workspace.sessions


def _sessionize(*flags: str, directory: Path) -> None:
    command = (sys.executable, "-m", "beam_pipelines.sessionize", "--runner=DirectRunner")
    measure((*command, *flags), folder=ROOT, log=directory / "sessionize.log")


def open_feed(
    path: Path, inputs: tuple[str, ...], *, sessions_per_block: int = SESSIONS_PER_BLOCK
) -> Feed:
    """A feed of these sessions; tracks have random embeddings."""
    sessions = open_sessions(path)
    shape = (sessions.tracks.num_rows, EMBEDDING_DIM)
    vectors = np.random.default_rng(0).standard_normal(shape, np.float32)
    # In place: the peak of memory is to be that of training.
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Feed(sessions, vectors, inputs=inputs, sessions_per_block=sessions_per_block)
