"""The default log, and embeddings of it, made once for all tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.synthetic import SyntheticConfig, synthesize
from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.word2vec import PlaylistSentences, train_vectors, vocabulary_vectors

from . import marginals


@pytest.fixture(scope="session")
def log_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of the default options: 400 users, seed 1."""
    directory = tmp_path_factory.mktemp("synthetic") / "log"
    synthesize(SyntheticConfig(), directory, progress=False)
    return directory


@pytest.fixture(scope="session")
def log(log_directory: Path) -> marginals.Log:
    return marginals.read_log(log_directory)


@dataclass(frozen=True)
class Embeddings:
    tracks: np.ndarray
    """(tracks, dim) of the log's tracks, in the order of `Log.track_ids`."""
    sessions: np.ndarray
    """(S, dim)"""


@pytest.fixture(scope="session")
def embeddings(log_directory: Path, log: marginals.Log) -> Embeddings:
    """Of the default options."""
    playlists = PlaylistSentences(log_directory / "playlists.jsonl.gz")
    tracks = vocabulary_vectors(train_vectors(playlists, EmbeddingConfig()), log.track_ids)
    return Embeddings(tracks, marginals.embed(log, tracks))
