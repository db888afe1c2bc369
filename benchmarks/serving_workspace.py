"""A workspace of a streaming service's size, made at once: users, a catalogue, a run, its index.

Nothing is to be learnt from it. Tracks lie in clusters, and a user's are of a few of them, so that
what a model predicts from them lies where tracks are, as it does after training.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from benchmarks.evaluation_log import write_untrained_run
from cosernn_tf.config import require
from cosernn_tf.features import normalize
from cosernn_tf.records import write_records
from cosernn_tf.retrieval.held_out import held_out_predictions
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import (
    DEVICES,
    EMBEDDING_DIM,
    MAX_TRACKS_PER_SESSION,
    SECONDS_PER_DAY,
    TEST_DAYS,
    VALIDATION_DAYS,
)
from cosernn_tf.sessions import local_day_and_hour, shard_of
from cosernn_tf.staging import staged
from cosernn_tf.table import SessionTable
from cosernn_tf.tracks import save_track_embeddings
from cosernn_tf.trained_run import open_trained_run
from cosernn_tf.training.feed import Feed
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    MANIFEST,
    STREAM_SOURCE_VOCABULARY,
    SUCCESS,
    TRACK_VOCABULARY,
    VOCABULARIES,
    Manifest,
    Shard,
    Split,
    Workspace,
    open_sessions,
    sha256,
)

_FIRST_SECOND: Final = 1_554_076_800
_DAYS: Final = 61
_SHARDS: Final = 32
_MAX_SESSIONS: Final = 100
_SOURCES: Final = ("unknown", "user_playlist", "charts")
_CLUSTERS_PER_USER: Final = 3
_TRACKS_PER_CLUSTER: Final = 250
_NOISE: Final = 0.1
"""Deviation of a coordinate of a track from its cluster's: cosines within are some 0.7."""
_SKIPPED: Final = 0.25


@dataclass(frozen=True)
class ServingWorkspaceConfig:
    """Its size.

    Raises:
        UserError: An option is out of its range.
    """

    num_users: int = 100_000
    num_tracks: int = 1_000_000
    sessions_per_user: int = 10
    """On average."""
    lstm_units: int = 400
    seed: int = 1

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            require(value >= 1, f"--{name}={value} must be at least 1")
        require(
            self.num_tracks >= _TRACKS_PER_CLUSTER,
            f"--num_tracks={self.num_tracks} must be at least {_TRACKS_PER_CLUSTER}",
        )

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in dataclasses.asdict(self).values())


def user_name(number: int) -> str:
    return f"user{number:07d}"


def track_name(number: int) -> str:
    return f"track{number:08d}"


def make_served(directory: Path, config: ServingWorkspaceConfig) -> tuple[Workspace, str]:
    """The workspace and the name of its run, which was not trained; what is there is used again."""
    workspace = Workspace(directory / f"serving-{config.name}")
    rng = np.random.default_rng(config.seed)
    if not (workspace.sessions / SUCCESS).is_file():
        logging.info("Making the sessions of %d users", config.num_users)
        _write_sessions(workspace.sessions, config, rng)
    if not (workspace.tracks / SUCCESS).is_file():
        _write_tracks(workspace, config, rng)
    run = write_untrained_run(
        workspace, lstm_units=config.lstm_units, max_sessions=_MAX_SESSIONS, seed=config.seed
    )
    if not (workspace.run(run) / INDEX / SUCCESS).is_file():
        _index(workspace, run)
    return workspace, run


def _write_sessions(path: Path, config: ServingWorkspaceConfig, rng: np.random.Generator) -> None:
    shard = shard_of(map(user_name, range(config.num_users)), _SHARDS)
    end = _FIRST_SECOND + _DAYS * SECONDS_PER_DAY
    test_start = end - TEST_DAYS * SECONDS_PER_DAY
    with staged(path) as staging:
        shards = []
        for number in range(_SHARDS):
            part = _table(np.flatnonzero(shard == number), config, rng)
            name = f"sessions-users.tfrecord-{number:05d}-of-{_SHARDS:05d}"
            data = write_records(part)
            (staging / name).write_bytes(data)
            shards.append(Shard(name, part.num_users, part.num_sessions, sha256(data)))
        (staging / TRACK_VOCABULARY).parent.mkdir()
        names = list(map(track_name, range(config.num_tracks)))
        tracks = pa.table({"track_id": names, "train_listens": [1] * len(names)})
        pq.write_table(tracks, staging / TRACK_VOCABULARY)
        for file, lines in ((DEVICE_VOCABULARY, DEVICES), (STREAM_SOURCE_VOCABULARY, _SOURCES)):
            (staging / file).write_text("".join(f"{line}\n" for line in lines), "utf-8")
        manifest = Manifest(
            shards=tuple(shards),
            counters={},
            split=Split(test_start - VALIDATION_DAYS * SECONDS_PER_DAY, test_start),
            options={},
            first_timestamp=_FIRST_SECOND,
            last_timestamp=end,
            vocabularies={file: sha256((staging / file).read_bytes()) for file in VOCABULARIES},
        )
        (staging / MANIFEST).write_text(manifest.to_json(), "utf-8")


def _table(
    users: np.ndarray, config: ServingWorkspaceConfig, rng: np.random.Generator
) -> SessionTable:
    """Of users by their numbers."""
    lengths = 1 + rng.poisson(config.sessions_per_user - 1, len(users))
    splits = np.concatenate([[0], np.cumsum(lengths)])
    total = int(splits[-1])
    owner = np.repeat(np.arange(len(users)), lengths)
    start = _FIRST_SECOND + rng.integers(0, _DAYS * SECONDS_PER_DAY, total)
    start = start[np.lexsort((start, owner))]
    day_of_week, hour = local_day_and_hour(start, np.zeros(total, np.int64))
    clusters = config.num_tracks // _TRACKS_PER_CLUSTER
    liked = rng.integers(0, clusters, (len(users), _CLUSTERS_PER_USER))
    cluster = liked[owner, rng.integers(0, _CLUSTERS_PER_USER, total)]
    shape = (total, MAX_TRACKS_PER_SESSION)
    track = cluster[:, None] + clusters * rng.integers(0, _TRACKS_PER_CLUSTER, shape)
    skipped = (rng.random(shape) < _SKIPPED).astype(np.int64)
    kept = rng.integers(1, MAX_TRACKS_PER_SESSION + 1, total)
    padding = np.arange(MAX_TRACKS_PER_SESSION) >= kept[:, None]
    track[padding], skipped[padding] = -1, -1
    since_last = np.diff(start, prepend=0) - 60
    since_last[splits[:-1]] = 0
    return SessionTable(
        row_splits=splits,
        user_id=np.array([user_name(user).encode() for user in users], object),
        user_age=rng.integers(-1, 70, len(users)),
        session_start=start,
        day_of_week=day_of_week,
        hour=hour,
        device=rng.choice([1, 1, 1, 2, 3], total),
        stream_source=rng.integers(0, len(_SOURCES), total),
        num_tracks=kept,
        seconds_since_last=np.maximum(since_last, 0),
        track=track,
        skipped=skipped,
    )


def _write_tracks(
    workspace: Workspace, config: ServingWorkspaceConfig, rng: np.random.Generator
) -> None:
    """Embeddings; a track's cluster is its row, modulo the number of clusters."""
    clusters = config.num_tracks // _TRACKS_PER_CLUSTER
    centres = normalize(rng.normal(size=(clusters, EMBEDDING_DIM)).astype(np.float32))
    vectors = centres[np.arange(config.num_tracks) % clusters]
    vectors += _NOISE * rng.standard_normal(vectors.shape, np.float32)
    sessions = open_sessions(workspace.sessions)
    save_track_embeddings(
        workspace.tracks,
        _NoKeyedVectors(),
        normalize(vectors),
        description={"vocabulary_sha256": sessions.track_vocabulary_sha256},
    )


class _NoKeyedVectors:
    """In the place of gensim's, which nobody asks for here."""

    def save(self, path: str) -> None:
        Path(path).touch()


def _index(workspace: Workspace, run: str) -> None:
    """Indexes the tracks for a run, tuned on what it predicts."""
    trained = open_trained_run(workspace, run)
    logging.info("Indexing %d tracks", len(trained.embeddings.vectors))
    queries = held_out_predictions(
        trained.model,
        Feed(trained.sessions, trained.embeddings.vectors, inputs=trained.config.model.inputs),
        max_sessions=trained.config.max_sessions,
    )
    build_index(trained.embeddings, queries, trained.path / INDEX)
