"""User-made playlists: what the track embeddings are learnt from (§3.2).

Most keep to a style or a genre; niche genres are purer than mainstream ones, and some lists follow
a mood through several genres.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from beam_pipelines.synthetic.catalogue import (
    GENRE_OF_STYLE,
    GENRE_SHARES,
    GENRES,
    NUM_STYLES,
    TRAITS,
    Catalogue,
)
from beam_pipelines.synthetic.config import SyntheticConfig

_PLAYLIST_KEY: Final = 3
_BLOCK = 1_024
_MIN_TRACKS, _MAX_TRACKS = 25, 75
# Lists are of a style, of a genre or of a mood.
_OF_STYLE, _OF_GENRE = 0.8, 0.1
_STYLE_PURITY = 0.85
_MOOD_STRENGTH = 3.0


def draw_playlists(
    config: SyntheticConfig, catalogue: Catalogue
) -> Iterator[tuple[str, list[str]]]:
    """Yields id and distinct track ids of each playlist, `config.num_playlists` of them."""
    rng = config.generator(_PLAYLIST_KEY)
    for first in range(0, config.num_playlists, _BLOCK):
        count = min(_BLOCK, config.num_playlists - first)
        for number, tracks in enumerate(_draw_block(catalogue, count, rng), start=first):
            # A playlist holds a track once; the order of first appearance stays.
            distinct = tracks[np.sort(np.unique(tracks, return_index=True)[1])]
            yield f"p{number:07d}", catalogue.track_ids[distinct].tolist()


def _draw_block(catalogue: Catalogue, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    lengths = rng.integers(_MIN_TRACKS, _MAX_TRACKS + 1, count)
    playlist = np.repeat(np.arange(count), lengths)
    kind = rng.random(count)
    # Every style has its lists, also where few listen to it: its tracks need embeddings too.
    style_odds = 0.7 / NUM_STYLES + 0.3 * np.diff(catalogue.cumulative[catalogue.style_splits])
    style = rng.choice(NUM_STYLES, count, p=style_odds / style_odds.sum())
    genre = GENRE_OF_STYLE[style]
    in_genre = np.cumsum(_style_odds_by_genre(catalogue), axis=1)
    in_mood = np.cumsum(_style_odds_by_mood(catalogue), axis=1)
    mood = rng.integers(0, len(TRAITS), count)
    is_mood = kind >= _OF_STYLE + _OF_GENRE
    # What strays into other lists is of the mainstream, from it mostly.
    mood[~is_mood] = TRAITS.index("mainstream")
    foreign = np.array([GENRES[g].mixing for g in range(len(GENRES))])[genre]

    size = len(playlist)
    by_genre = _pick(in_genre[genre[playlist]], rng)
    by_mood = _pick(in_mood[mood[playlist]], rng)
    keeps_style = (kind[playlist] < _OF_STYLE) & (rng.random(size) < _STYLE_PURITY)
    chosen = np.where(keeps_style, style[playlist], by_genre)
    is_foreign = is_mood[playlist] | (rng.random(size) < foreign[playlist])
    chosen = np.where(is_foreign, by_mood, chosen)
    tracks = catalogue.draw_from_style(chosen, rng.random(size))
    return np.split(tracks, np.cumsum(lengths)[:-1])


def _style_odds_by_genre(catalogue: Catalogue) -> np.ndarray:
    share = np.diff(catalogue.cumulative[catalogue.style_splits])
    odds = np.where(np.arange(len(GENRES))[:, None] == GENRE_OF_STYLE, share, 0.0)
    return odds / odds.sum(axis=1, keepdims=True)


def _style_odds_by_mood(catalogue: Catalogue) -> np.ndarray:
    share = GENRE_SHARES[GENRE_OF_STYLE]
    odds = share * np.exp(_MOOD_STRENGTH * catalogue.style_traits.T)
    return odds / odds.sum(axis=1, keepdims=True)


def _pick(cumulative: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) column drawn from each row of cumulative probabilities (n, columns)."""
    return (rng.random((len(cumulative), 1)) > cumulative[:, :-1]).sum(axis=1)
