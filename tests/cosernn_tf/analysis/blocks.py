"""Blocks of random and of planted sessions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from cosernn_tf.analysis.block import Block
from cosernn_tf.analysis.contexts import COMPARED, Dimension, dimensions
from cosernn_tf.analysis.rows import Row
from cosernn_tf.schema import DEVICES, MAX_TRACKS_PER_SESSION, SKIPPED_PADDING, TRACK_PADDING
from cosernn_tf.table import SessionTable
from tests.cosernn_tf.evaluation.tables import random_data

PERIOD, DEVICE = (d for d in dimensions(DEVICES) if d.name in COMPARED)
LENGTHS = (1, 30, 0, 2, 45, 7, 20, 3, 12)
"""Sessions of each user."""


def random_block(seed: int = 0, lengths: Sequence[int] = LENGTHS) -> Block:
    """Sessions that repeat others, tracks that share a vector, and tracks that have none."""
    data = random_data(seed, lengths)
    return Block(data.table, data.track_embeddings, seed)


def parts(block: Block, seed: int = 0) -> list[Block]:
    """The same users, a few at a time, in another order."""
    order = np.random.default_rng(seed).permutation(block.table.num_users)
    return [
        dataclasses.replace(block, table=block.table.select_users(users))
        for users in np.array_split(order, 3)
    ]


def planted_block(
    lengths: Sequence[int],
    *,
    track: np.ndarray,
    vectors: np.ndarray,
    hour: np.ndarray | int = 13,
    device: np.ndarray | int = 1,
    skipped: np.ndarray | int = 0,
) -> Block:
    """Sessions of the given tracks.

    Args:
        lengths: Sessions of each user, S in all.
        track: (S, at most 10) rows of `vectors`; negative is padding.
        vectors: (tracks, dim)
        hour: Of each session.
        device: Of each session.
        skipped: Of each track.
    """
    count, width = track.shape
    kept = np.full((count, MAX_TRACKS_PER_SESSION), TRACK_PADDING)
    kept[:, :width] = np.where(track < 0, TRACK_PADDING, track)
    skips = np.full_like(kept, SKIPPED_PADDING)
    skips[:, :width] = np.where(track < 0, SKIPPED_PADDING, skipped)
    splits = np.concatenate([[0], np.cumsum(lengths)])
    assert splits[-1] == count
    table = SessionTable(
        row_splits=splits,
        user_id=np.array([f"user {row}".encode() for row in range(len(lengths))], object),
        user_age=np.full(len(lengths), -1),
        session_start=np.arange(count) * 10_000,
        day_of_week=np.zeros(count, np.int64),
        hour=np.broadcast_to(hour, count).astype(np.int64),
        device=np.broadcast_to(device, count).astype(np.int64),
        stream_source=np.zeros(count, np.int64),
        num_tracks=np.count_nonzero(kept >= 0, axis=1),
        seconds_since_last=np.zeros(count, np.int64),
        track=kept,
        skipped=skips,
    )
    return Block(table, vectors.astype(np.float32), seed=1)


def all_of(dimension: Dimension) -> np.ndarray:
    """Rates at which nothing is left out."""
    return np.ones(len(dimension))


def interval(row: Row, name: str) -> tuple[Any, Any, Any]:
    """A figure, and the ends of its interval."""
    return getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high")
