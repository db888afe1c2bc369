"""Catalogues to search, and what is asked of them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from cosernn_tf.features import normalize
from cosernn_tf.schema import EMBEDDING_DIM

_TRACKS_PER_SCENE: Final = 100
_SCENES_PER_GENRE: Final = 100
_SCENE_NOISE: Final = 0.1
_TRACK_NOISE: Final = 0.15
_SCENE_SHAPE: Final = 1.5
"""Of the sizes of scenes, a Pareto distribution."""


class Vectors(StrEnum):
    """What a catalogue is like."""

    CLUSTERED = "clustered"
    """Scenes within genres, of very different sizes; neighbours as near as those of track
    embeddings learnt from the embedded default log. Asked for are means of four tracks of two
    scenes of a genre, as a user embedding is one of what was listened to."""
    ISOTROPIC = "isotropic"
    """Without any structure, the worst case; and so is what is asked for."""


@dataclass(frozen=True)
class Catalogue:
    """Unit-norm float32 vectors."""

    tracks: np.ndarray
    """(tracks, dim)."""
    held_out: np.ndarray
    """(n, dim) queries on which indices are tuned."""
    queries: np.ndarray
    """(n, dim) others, on which they are measured."""


def make(kind: Vectors, num_tracks: int, *, num_queries: int, seed: int) -> Catalogue:
    """Equal arguments give equal vectors."""
    rng = np.random.default_rng(seed)
    if kind is Vectors.ISOTROPIC:
        tracks = _normal(rng, num_tracks)
        queries = normalize(_normal(rng, 2 * num_queries))
        return Catalogue(normalize(tracks), queries[:num_queries], queries[num_queries:])
    num_scenes = max(2, num_tracks // _TRACKS_PER_SCENE)
    genre = np.sort(rng.integers(0, max(1, num_scenes // _SCENES_PER_GENRE), num_scenes))
    genres = normalize(_normal(rng, int(genre[-1]) + 1))
    scenes = normalize(genres[genre] + _SCENE_NOISE * _normal(rng, num_scenes))
    weight = rng.pareto(_SCENE_SHAPE, num_scenes) + 0.2
    scene = rng.choice(num_scenes, num_tracks, p=weight / weight.sum())
    tracks = normalize(scenes[scene] + _TRACK_NOISE * _normal(rng, num_tracks))
    by_scene = np.argsort(scene, kind="stable")
    ends = np.cumsum(np.bincount(scene, minlength=num_scenes))
    starts = np.concatenate([[0], ends[:-1]])
    sums: list[np.ndarray] = []
    while len(sums) < 2 * num_queries:
        one = rng.integers(num_scenes)
        other = rng.choice(np.flatnonzero(genre == genre[one]))
        if ends[one] > starts[one] and ends[other] > starts[other]:
            places = [rng.integers(starts[of], ends[of], 2) for of in (one, other)]
            sums.append(tracks[by_scene[np.concatenate(places)]].sum(axis=0))
    asked = normalize(np.array(sums, np.float32))
    return Catalogue(tracks, asked[:num_queries], asked[num_queries:])


def _normal(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.standard_normal((rows, EMBEDDING_DIM), dtype=np.float32)
