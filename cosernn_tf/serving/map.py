"""The track space in two dimensions, for people to look at."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.tracks import TrackEmbeddings

MAX_TRACKS: Final = 2_000
"""Drawn of a large catalogue."""
_MAX_ROWS: Final = 200_000
"""From which the components are found."""


@dataclass(frozen=True)
class TrackMap:
    """A plane through the track embeddings, and the places of some of them on it."""

    mean: np.ndarray
    """(dim,)"""
    components: np.ndarray
    """(2, dim), orthonormal; the first has the most variance. Each points to where its greatest
    coordinate is positive, so that equal embeddings give equal maps."""
    explained: float
    """Share of the variance that the plane has."""
    rows: np.ndarray
    """(points,) of the track vocabulary, ascending."""
    points: np.ndarray
    """(points, 2)"""


def map_of_tracks(embeddings: TrackEmbeddings, *, seed: int = 0) -> TrackMap:
    """Principal components of the embedded tracks, and a sample of these.

    Args:
        embeddings: At least one track has one.
        seed: Of the sample, if there are more than `MAX_TRACKS`.
    """
    vectors = embeddings.vectors
    rows = np.flatnonzero(vectors.any(axis=1))
    rng = np.random.default_rng(seed)
    basis = rows if len(rows) <= _MAX_ROWS else rng.choice(rows, _MAX_ROWS, replace=False)
    sample = vectors[basis].astype(np.float64)
    mean = sample.mean(axis=0)
    covariance = (sample - mean).T @ (sample - mean)
    variances, directions = np.linalg.eigh(covariance)
    components = directions[:, ::-1][:, :2].T
    greatest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[[0, 1], greatest])[:, None]
    total = variances.sum()
    if len(rows) > MAX_TRACKS:
        rows = np.sort(rng.choice(rows, MAX_TRACKS, replace=False))
    return TrackMap(
        mean=mean,
        components=components,
        explained=float(variances[-2:].sum() / total) if total > 0 else 0.0,
        rows=rows,
        points=(vectors[rows] - mean) @ components.T,
    )
