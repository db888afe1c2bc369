"""Small workspaces made without Beam: session sequences and track embeddings with known content."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gensim.models import KeyedVectors

from cosernn_tf.features import normalize
from cosernn_tf.records import write_records
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
from cosernn_tf.tracks import TrackEmbeddings, save_track_embeddings
from cosernn_tf.workspace import (
    DEVICE_VOCABULARY,
    MANIFEST,
    STREAM_SOURCE_VOCABULARY,
    TRACK_VOCABULARY,
    VOCABULARIES,
    Manifest,
    SessionsDirectory,
    Shard,
    Split,
    Workspace,
    open_sessions,
    sha256,
)

FIRST_SECOND = 1_554_076_800
DAYS = 61
STREAM_SOURCES = ("unknown", "user_playlist", "charts")
NUM_CLUSTERS = 5


def random_table(
    seed: int = 0,
    *,
    num_users: int = 12,
    sessions_per_user: int | Sequence[int] = 40,
    num_tracks: int = 200,
) -> SessionTable:
    """Users whose music depends on the hour: a track's cluster is its row modulo `NUM_CLUSTERS`.

    Some sessions have no played track, some tracks are cut, lengths differ between users.
    """
    rng = np.random.default_rng(seed)
    lengths = np.maximum(1, rng.poisson(sessions_per_user, num_users))
    lengths[0] = 1
    splits = np.concatenate([[0], np.cumsum(lengths)])
    total = int(splits[-1])
    user = np.repeat(np.arange(num_users), lengths)
    start = FIRST_SECOND + rng.integers(0, DAYS * SECONDS_PER_DAY, total)
    start = start[np.lexsort((start, user))]
    start[-1] = FIRST_SECOND + DAYS * SECONDS_PER_DAY - 1
    day_of_week, hour = local_day_and_hour(start, np.full(total, 60))
    cluster = (user + hour // 8) % NUM_CLUSTERS
    shape = (total, MAX_TRACKS_PER_SESSION)
    track = rng.integers(0, num_tracks // NUM_CLUSTERS, shape) * NUM_CLUSTERS + cluster[:, None]
    skipped = (rng.random(shape) < 0.25).astype(np.int64)
    skipped[rng.random(total) < 0.05] = 1
    track[rng.random(shape) < 0.03] = -2
    num_kept = rng.integers(1, MAX_TRACKS_PER_SESSION + 1, total)
    padding = np.arange(MAX_TRACKS_PER_SESSION) >= num_kept[:, None]
    track[padding], skipped[padding] = -1, -1
    since_last = np.diff(start, prepend=0) - 600
    since_last[splits[:-1]] = 0
    return SessionTable(
        row_splits=splits,
        user_id=np.array([f"user-{row}".encode() for row in range(num_users)], object),
        user_age=rng.integers(-1, 70, num_users),
        session_start=start,
        day_of_week=day_of_week,
        hour=hour,
        device=rng.choice([1, 1, 1, 2, 3], total),
        stream_source=rng.integers(0, len(STREAM_SOURCES), total),
        num_tracks=num_kept + rng.poisson(2, total) * (num_kept == MAX_TRACKS_PER_SESSION),
        seconds_since_last=np.maximum(since_last, 0),
        track=track,
        skipped=skipped,
    )


def split_of(table: SessionTable) -> Split:
    """The boundaries of decision 8, the last session's start standing in for the last listen."""
    test_start = int(table.session_start.max()) - TEST_DAYS * SECONDS_PER_DAY
    return Split(test_start - VALIDATION_DAYS * SECONDS_PER_DAY, test_start)


def write_sessions(
    path: Path, table: SessionTable, *, num_tracks: int = 200, num_shards: int = 3
) -> SessionsDirectory:
    """Writes the directory that `beam_pipelines.sessionize` would."""
    split = split_of(table)
    shard = shard_of(table.user_id, num_shards)
    counts = np.zeros(num_tracks, np.int64)
    trained = table.track[table.session_start < split.validation_start]
    np.add.at(counts, trained[trained >= 0], 1)
    with staged(path) as staging:
        shards = []
        for number in range(num_shards):
            name = f"sessions-users.tfrecord-{number:05d}-of-{num_shards:05d}"
            part = table.select_users(np.flatnonzero(shard == number))
            data = write_records(part)
            (staging / name).write_bytes(data)
            shards.append(Shard(name, part.num_users, part.num_sessions, sha256(data)))
        (staging / TRACK_VOCABULARY).parent.mkdir()
        track_ids = [f"track-{row}" for row in range(num_tracks)]
        tracks = pa.table({"track_id": track_ids, "train_listens": counts})
        pq.write_table(tracks, staging / TRACK_VOCABULARY)
        for name, lines in (
            (DEVICE_VOCABULARY, DEVICES),
            (STREAM_SOURCE_VOCABULARY, STREAM_SOURCES),
        ):
            (staging / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        manifest = Manifest(
            shards=tuple(shards),
            counters={},
            split=split,
            options={},
            first_timestamp=int(table.session_start.min()),
            last_timestamp=int(table.session_start.max()),
            vocabularies={name: sha256((staging / name).read_bytes()) for name in VOCABULARIES},
        )
        (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return open_sessions(path)


def random_embeddings(seed: int = 0, *, num_tracks: int = 200, noise: float = 0.15) -> np.ndarray:
    """(tracks, dim) in `NUM_CLUSTERS` clusters; every eleventh track has none."""
    rng = np.random.default_rng(seed)
    centres = normalize(rng.normal(size=(NUM_CLUSTERS, EMBEDDING_DIM)).astype(np.float32))
    vectors = centres[np.arange(num_tracks) % NUM_CLUSTERS]
    vectors = vectors + noise * rng.normal(size=vectors.shape).astype(np.float32)
    vectors = normalize(vectors.astype(np.float32))
    vectors[::11] = 0.0
    return vectors


def write_tracks(
    path: Path,
    sessions: SessionsDirectory,
    *,
    seed: int = 0,
    noise: float = 0.15,
    vectors: np.ndarray | None = None,
) -> TrackEmbeddings:
    """Writes `vectors` of the track vocabulary, `random_embeddings` unless told."""
    if vectors is None:
        vectors = random_embeddings(seed, num_tracks=sessions.tracks.num_rows, noise=noise)
    keyed_vectors = KeyedVectors(EMBEDDING_DIM)
    embedded = np.flatnonzero(vectors.any(axis=1))
    keyed_vectors.add_vectors([f"track-{row}" for row in embedded], vectors[embedded])
    description = {"vocabulary_sha256": sessions.track_vocabulary_sha256}
    return save_track_embeddings(path, keyed_vectors, vectors, description=description)


def write_workspace(root: Path, *, table: SessionTable | None = None, seed: int = 0) -> Workspace:
    """A workspace with `sessions/` and `tracks/`, of `random_table(seed)` unless told."""
    workspace = Workspace(root)
    sessions = write_sessions(workspace.sessions, random_table(seed) if table is None else table)
    write_tracks(workspace.tracks, sessions, seed=seed)
    return workspace
