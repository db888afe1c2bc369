"""Randomised session tables with everything that logs have: repeats, ties, gaps, strangers."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.scores import score_schema
from cosernn_tf.features import SessionEmbeddings, embed_sessions, normalize
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, TRACK_CUT, TRACK_PADDING
from cosernn_tf.table import SessionTable

TABLE_2_SCHEMA = pa.schema(list(score_schema())[: 6 + len(METRICS)])
"""Of scores, as far as the tests between models need them."""

DIM = 6
NUM_TRACKS = 220


@dataclasses.dataclass(frozen=True)
class Data:
    table: SessionTable
    track_embeddings: np.ndarray
    train_listens: np.ndarray

    @property
    def embeddings(self) -> SessionEmbeddings:
        return embed_sessions(self.table, self.track_embeddings)

    def with_table(self, table: SessionTable) -> "Data":
        return dataclasses.replace(self, table=table)


def random_data(seed: int = 0, lengths: Sequence[int] = (1, 90, 0, 2, 130, 7, 60)) -> Data:
    """Users with the given numbers of sessions, on a vocabulary of `NUM_TRACKS`."""
    rng = np.random.default_rng(seed)
    track_embeddings = normalize(rng.normal(size=(NUM_TRACKS, DIM)).astype(np.float32))
    track_embeddings[rng.random(NUM_TRACKS) < 0.1] = 0.0
    # Different tracks with one vector: their scores tie.
    track_embeddings[40:60] = track_embeddings[20:40]
    tables = [_random_user(rng, row, length) for row, length in enumerate(lengths)]
    columns = {name: np.concatenate([user[name] for user in tables]) for name in tables[0]}
    table = SessionTable(
        row_splits=np.concatenate([[0], np.cumsum(lengths)]),
        user_id=np.array([f"usér {row}".encode() for row in range(len(lengths))], object),
        user_age=np.array([(row * 17) % 50 - 1 for row in range(len(lengths))]),
        **columns,
    )
    return Data(table, track_embeddings, rng.integers(0, 4, NUM_TRACKS))


def _random_user(rng: np.random.Generator, row: int, length: int) -> dict[str, np.ndarray]:
    shape = (length, MAX_TRACKS_PER_SESSION)
    kept = rng.integers(1, MAX_TRACKS_PER_SESSION + 1, length)
    # A user's tracks: a few favourites, and now and then any.
    favourites = rng.integers(0, NUM_TRACKS, 20 + 40 * (row % 3))
    track = np.where(
        rng.random(shape) < 0.7,
        rng.choice(favourites, shape),
        rng.integers(0, NUM_TRACKS, shape),
    )
    track[rng.random(shape) < 0.07] = TRACK_CUT
    skipped = (rng.random(shape) < 0.4).astype(np.int64)
    skipped[rng.random(length) < 0.1] = 1
    track[rng.random(length) < 0.05] = TRACK_CUT
    for session in range(1, length):
        if rng.random() < 0.15:
            # An earlier session again, once in a while in another order.
            earlier = rng.integers(0, session)
            order = np.arange(MAX_TRACKS_PER_SESSION)
            if rng.random() < 0.5:
                order[: kept[earlier]] = rng.permutation(kept[earlier])
            track[session], skipped[session] = track[earlier, order], skipped[earlier, order]
            kept[session] = kept[earlier]
    padding = np.arange(MAX_TRACKS_PER_SESSION) >= kept[:, None]
    track[padding], skipped[padding] = TRACK_PADDING, -1
    start = 1_554_076_800 + np.cumsum(rng.integers(1_800, 40_000, length))
    return {
        "session_start": start,
        "day_of_week": rng.integers(0, 7, length),
        "hour": rng.choice([0, 3, 8, 13, 14, 20, 23], length),
        "device": rng.choice([0, 1, 1, 1, 2], length),
        "stream_source": np.zeros(length, np.int64),
        "num_tracks": kept,
        "seconds_since_last": np.diff(start, prepend=start[:1]),
        "track": track,
        "skipped": skipped,
    }


def change_future(data: Data, last_kept: int, seed: int = 1) -> Data:
    """The same table but for what happens in every user's sessions from position `last_kept` + 1.

    The session at `last_kept` keeps its context and start and gets other tracks.
    """
    rng = np.random.default_rng(seed)
    table = data.table
    later, current = table.position > last_kept, table.position == last_kept
    changed = {
        "track": np.where(
            (later | current)[:, None], rng.permuted(table.track, axis=0), table.track
        ),
        "skipped": np.where(later[:, None], rng.permuted(table.skipped, axis=0), table.skipped),
        "hour": np.where(later, rng.permuted(table.hour), table.hour),
        "device": np.where(later, rng.permuted(table.device), table.device),
        "session_start": np.where(later, table.session_start + 5, table.session_start),
    }
    return data.with_table(dataclasses.replace(table, **changed))


def only_user(data: Data, user: int) -> Data:
    return data.with_table(data.table.select_users(np.array([user])))


def sessions_of(data: Data, user: int) -> slice:
    return slice(*data.table.row_splits[user : user + 2])
