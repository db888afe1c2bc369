"""The catalogue: tracks on albums, by artists, in styles, in genres, with Zipf popularity.

Indices are contiguous at every level (a genre is a run of styles, a style a run of artists' albums,
an album a run of tracks), so that "a popular track of this style" is one binary search in a single
cumulative sum.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from beam_pipelines.synthetic.config import SyntheticConfig

CATALOGUE_KEY: Final = 0
"""Spawn key of the catalogue's random numbers; see `SyntheticConfig.generator`."""

TRAITS: Final = ("energy", "calm", "focus", "party", "mainstream")
"""What a context may ask for and a genre may have (`contexts.py`)."""


@dataclass(frozen=True)
class Genre:
    """A cluster of styles."""

    name: str
    share: float
    """Of the catalogue and, roughly, of the users' tastes."""
    mixing: float
    """Share of foreign tracks in its playlists: high for the mainstream, low for niches."""
    typical_age: int
    traits: tuple[float, float, float, float, float]
    """Amount of each of `TRAITS`."""


GENRES: Final = (
    Genre("pop", 0.15, 0.45, 24, (0.4, 0.2, 0.0, 0.6, 1.0)),
    Genre("hip hop", 0.13, 0.40, 21, (0.7, 0.0, 0.0, 0.7, 1.0)),
    Genre("dance", 0.09, 0.40, 24, (0.9, 0.0, 0.0, 0.9, 0.8)),
    Genre("r&b", 0.08, 0.42, 27, (0.1, 0.5, 0.1, 0.3, 0.8)),
    Genre("latin", 0.08, 0.36, 28, (0.6, 0.1, 0.0, 0.9, 0.7)),
    Genre("rock", 0.09, 0.26, 44, (0.7, 0.0, 0.0, 0.3, 0.4)),
    Genre("indie", 0.07, 0.24, 27, (0.2, 0.4, 0.4, 0.0, 0.3)),
    Genre("electronic", 0.06, 0.14, 29, (0.5, 0.1, 0.8, 0.5, 0.1)),
    Genre("country", 0.04, 0.10, 46, (0.3, 0.3, 0.0, 0.2, 0.2)),
    Genre("metal", 0.04, 0.06, 33, (1.0, 0.0, 0.2, 0.0, 0.0)),
    Genre("folk", 0.04, 0.14, 40, (0.0, 0.7, 0.4, 0.0, 0.1)),
    Genre("soul and jazz", 0.035, 0.12, 52, (0.0, 0.6, 0.5, 0.3, 0.0)),
    Genre("ambient", 0.03, 0.07, 31, (0.0, 1.0, 0.9, 0.0, 0.0)),
    Genre("classical", 0.03, 0.05, 55, (0.0, 0.9, 0.9, 0.0, 0.0)),
    Genre("soundtrack", 0.025, 0.12, 30, (0.2, 0.5, 0.7, 0.0, 0.0)),
    Genre("children", 0.02, 0.05, 37, (0.4, 0.4, 0.0, 0.4, 0.0)),
)
GENRE_SHARES: Final = np.array([genre.share for genre in GENRES]) / sum(g.share for g in GENRES)
GENRE_TRAITS: Final = np.array([genre.traits for genre in GENRES])

STYLES_PER_GENRE: Final = 6
NUM_STYLES: Final = STYLES_PER_GENRE * len(GENRES)
GENRE_OF_STYLE: Final = np.repeat(np.arange(len(GENRES)), STYLES_PER_GENRE)

_MEAN_ALBUM_TRACKS = 11
_ALBUMS_PER_ARTIST = 3
# Popularity falls as 1 / (rank + offset) ** exponent within a style.
_ZIPF_EXPONENT = 0.95
_ZIPF_OFFSET = 4.0

CHART_PLACES: Final = 60
_CHART_STAYS = 0.8


@dataclass(frozen=True)
class Catalogue:
    """N tracks; every per-track array has shape (N,)."""

    track_ids: np.ndarray
    """Opaque strings, in an order that tells nothing."""
    duration_ms: np.ndarray
    weight: np.ndarray
    """Popularity among all tracks, sums to 1."""
    cumulative: np.ndarray
    """(N + 1,) sums of `weight` before each track."""
    style: np.ndarray
    album: np.ndarray
    artist: np.ndarray
    style_splits: np.ndarray
    """(styles + 1,) first track of each style."""
    album_splits: np.ndarray
    artist_splits: np.ndarray
    style_traits: np.ndarray
    """(styles, traits): the genre's, each style a little off."""
    charts: np.ndarray
    """(weeks, places) tracks of the charts of each week, the first place first."""

    @property
    def num_tracks(self) -> int:
        return len(self.track_ids)

    def draw(self, first: np.ndarray, last: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """A track of [first, last), by popularity, for each number of [0, 1). Shapes (n,)."""
        low, high = self.cumulative[first], self.cumulative[last]
        found = np.searchsorted(self.cumulative, low + uniform * (high - low), side="right") - 1
        tracks: np.ndarray = np.clip(found, first, last - 1)
        return tracks

    def draw_from_style(self, style: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return self.draw(self.style_splits[style], self.style_splits[style + 1], uniform)

    def draw_from_genre(self, genre: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        first = self.style_splits[genre * STYLES_PER_GENRE]
        return self.draw(first, self.style_splits[(genre + 1) * STYLES_PER_GENRE], uniform)

    def draw_from_artist(self, artist: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        return self.draw(self.artist_splits[artist], self.artist_splits[artist + 1], uniform)


def build_catalogue(config: SyntheticConfig) -> Catalogue:
    """The catalogue of a seed and size."""
    rng = config.generator(CATALOGUE_KEY)
    num_tracks = config.num_tracks
    style_share = np.repeat(GENRE_SHARES, STYLES_PER_GENRE) * rng.dirichlet(
        np.full(STYLES_PER_GENRE, 6.0), len(GENRES)
    ).reshape(-1)
    # Few tracks would leave a style too small to have albums: a floor, then the rest by share.
    floor = num_tracks // (3 * NUM_STYLES)
    # Niches have more tracks for their listeners than the mainstream has.
    by_share = np.cumsum(np.sqrt(style_share)) / np.sqrt(style_share).sum()
    by_share *= num_tracks - floor * NUM_STYLES
    style_splits = np.concatenate([[0], np.rint(by_share) + floor * np.arange(1, NUM_STYLES + 1)])
    style_splits = style_splits.astype(np.int64)
    style = np.repeat(np.arange(NUM_STYLES), np.diff(style_splits))

    album_splits = _album_splits(rng, style_splits)
    album = np.repeat(np.arange(len(album_splits) - 1), np.diff(album_splits))
    artist = _artists(rng, style[album_splits[:-1]])[album]
    artist_splits = np.concatenate([[0], np.flatnonzero(np.diff(artist)) + 1, [num_tracks]])

    weight = _popularity(rng, style, artist, style_share)
    style_duration = rng.normal(215_000, 25_000, NUM_STYLES)[style]
    duration_ms = style_duration * rng.lognormal(0.0, 0.22, num_tracks)
    return Catalogue(
        track_ids=np.array([f"t{code:08d}" for code in _codes(rng, num_tracks)]),
        duration_ms=np.clip(duration_ms, 75_000, 600_000).astype(np.int64),
        weight=weight,
        cumulative=np.concatenate([[0.0], np.cumsum(weight)]),
        style=style,
        album=album,
        artist=artist,
        style_splits=style_splits,
        album_splits=album_splits,
        artist_splits=artist_splits,
        style_traits=GENRE_TRAITS[GENRE_OF_STYLE]
        + rng.normal(0.0, 0.18, (NUM_STYLES, len(TRAITS))),
        charts=_charts(config, style, weight),
    )


def _album_splits(rng: np.random.Generator, style_splits: np.ndarray) -> np.ndarray:
    """First track of each album; no album crosses a style."""
    splits = [np.array([0])]
    for first, last in itertools.pairwise(style_splits):
        size = last - first
        lengths = rng.integers(_MEAN_ALBUM_TRACKS - 4, _MEAN_ALBUM_TRACKS + 5, size // 5 + 1)
        ends = np.cumsum(lengths)
        splits.append(first + np.append(ends[ends < size], size))
    return np.concatenate(splits)


def _artists(rng: np.random.Generator, style_of_album: np.ndarray) -> np.ndarray:
    """Artist of each album: runs of albums within a style."""
    is_new = rng.random(len(style_of_album)) < 1 / _ALBUMS_PER_ARTIST
    is_new[0] = False
    is_new[1:] |= np.diff(style_of_album) > 0
    return np.cumsum(is_new)


def _popularity(
    rng: np.random.Generator, style: np.ndarray, artist: np.ndarray, style_share: np.ndarray
) -> np.ndarray:
    """(N,) Zipf within each style, where a known artist's tracks rank high; sums to 1."""
    fame = rng.normal(0.0, 1.0, artist[-1] + 1)[artist] + rng.normal(0.0, 0.8, len(artist))
    order = np.lexsort((-fame, style))
    first = np.searchsorted(style, style, side="left")
    rank = np.empty(len(style))
    rank[order] = np.arange(len(style)) - first[order]
    weight = (rank + _ZIPF_OFFSET) ** -_ZIPF_EXPONENT
    weight *= (style_share / np.bincount(style, weight))[style]
    normalized: np.ndarray = weight / weight.sum()
    return normalized


def _charts(config: SyntheticConfig, style: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(weeks, places): mainstream hits, most of which keep their place for another week."""
    rng = config.generator(CATALOGUE_KEY, 1)
    mainstream = GENRE_TRAITS[GENRE_OF_STYLE[style], TRAITS.index("mainstream")]
    odds = weight**1.2 * mainstream
    # Enough hits for every change of place: no track is in a week's charts twice.
    hits = rng.choice(len(odds), 8 * CHART_PLACES, replace=False, p=odds / odds.sum())
    weeks = np.empty((config.num_days // 7 + 1, CHART_PLACES), np.int64)
    weeks[0] = hits[:CHART_PLACES]
    for week in range(1, len(weeks)):
        fresh = rng.choice(np.setdiff1d(hits, weeks[week - 1]), CHART_PLACES, replace=False)
        stays = rng.random(CHART_PLACES) < _CHART_STAYS
        weeks[week] = np.where(stays, weeks[week - 1], fresh)
    return weeks


def _codes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Distinct eight-digit numbers in random order."""
    return np.sort(rng.choice(10**8, count, replace=False))[rng.permutation(count)]
