"""Which tracks fill a user's sessions.

Every source plays through several channels (`sources.py`); each listen draws its channel, then all
listens of a channel draw their tracks at once.
"""

from dataclasses import dataclass

import numpy as np

from beam_pipelines.synthetic.catalogue import CHART_PLACES, GENRE_OF_STYLE, Catalogue
from beam_pipelines.synthetic.contexts import demands
from beam_pipelines.synthetic.programme import Programme
from beam_pipelines.synthetic.sources import CHANNEL_SHARES, Channel
from beam_pipelines.synthetic.users import LIBRARY_TRACKS

_THEME_STRENGTH = 1.8
_THEME_FROM_STYLES_LIKED = 1.5
_FROM_THE_BEGINNING = 0.35


@dataclass(frozen=True)
class Selection:
    """n listens in order; every array has shape (n,)."""

    session: np.ndarray
    """Row of the programme."""
    track: np.ndarray
    """Row of the catalogue."""
    taste: np.ndarray
    """Row of the user's tastes whose library the track was taken from; -1 from elsewhere."""
    is_faded: np.ndarray
    """Taken from the library, but a find that has had its time."""


def select_tracks(
    catalogue: Catalogue, programme: Programme, lengths: np.ndarray, rng: np.random.Generator
) -> Selection:
    """Fills T sessions with `lengths` (T,) listens each."""
    tastes = programme.user.tastes
    session = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(session)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    shares = np.cumsum(CHANNEL_SHARES, axis=1)[programme.source[session]]
    channel = (rng.random((len(session), 1)) > shares[:, :-1]).sum(axis=1)
    uniform = rng.random(len(session))
    main_taste = programme.taste[session]
    main_style = tastes.style[main_taste]
    day = programme.contexts.day[session]
    order = _library_order(programme, rng)
    from_library = channel == Channel.LIBRARY
    # Every session starts its library anew, the favourites of the day first: people come back to
    # the same tracks, which is what makes up most of their listens.
    turn = _turns(session, from_library)
    taste = np.where(from_library, main_taste, -1)
    place = order[session, turn % LIBRARY_TRACKS]
    track = tastes.library[main_taste, place]
    favourite = _favourites(programme, rng)

    at = np.flatnonzero(channel == Channel.OTHER_LIBRARY)
    taste[at], place[at] = _from_other_libraries(programme, session[at], rng)
    track[at] = tastes.library[taste[at], place[at]]

    at = np.flatnonzero(channel == Channel.STYLE)
    track[at] = catalogue.draw_from_style(main_style[at], uniform[at])

    at = np.flatnonzero(channel == Channel.GENRE)
    track[at] = catalogue.draw_from_genre(GENRE_OF_STYLE[main_style[at]], uniform[at])

    at = np.flatnonzero(channel == Channel.CHART)
    week = programme.contexts.day[session[at]] // 7
    track[at] = catalogue.charts[week, (CHART_PLACES * uniform[at] ** 1.6).astype(np.int64)]

    at = np.flatnonzero(channel == Channel.ALBUM)
    first = _first_of_album(catalogue, favourite, rng)
    # Past its end the next album of the style follows.
    track[at] = (first[session[at]] + position[at]) % catalogue.num_tracks

    at = np.flatnonzero(channel == Channel.ARTIST)
    track[at] = catalogue.draw_from_artist(catalogue.artist[favourite[session[at]]], uniform[at])

    at = np.flatnonzero(channel == Channel.THEME)
    themed, at_theme = np.unique(session[at], return_inverse=True)
    theme = _themes(catalogue, programme, themed, rng)
    track[at] = catalogue.draw_from_style(theme[at_theme], uniform[at] ** 1.5)

    course = programme.interests.track[day, taste, place] - tastes.library_log_weight[taste, place]
    return Selection(session, track, taste, is_faded=(taste >= 0) & (course < -0.5))


def _library_order(programme: Programme, rng: np.random.Generator) -> np.ndarray:
    """(T, M) the library of each session's taste in the order in which it is played."""
    liked = programme.interests.track[programme.contexts.day, programme.taste]
    return np.argsort(-(liked + rng.gumbel(size=liked.shape)), axis=1)


def _turns(group: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) how many earlier listens of the same group count; only meaningful where one counts."""
    order = np.argsort(group, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    first = np.searchsorted(group[order], group[order], side="left")
    turns = np.empty(len(group), np.int64)
    turns[order] = before - before[first]
    return turns


def _favourites(programme: Programme, rng: np.random.Generator) -> np.ndarray:
    """(T,) a track of each session's taste that the user is into on the day."""
    liked = programme.interests.track[programme.contexts.day, programme.taste]
    place = (liked + rng.gumbel(size=liked.shape)).argmax(axis=1)
    return programme.user.tastes.library[programme.taste, place]


def _from_other_libraries(
    programme: Programme, session: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) taste, by how it fits the context, and (n,) place in its library."""
    likely = np.cumsum(programme.fit, axis=1)[session]
    taste = (rng.random((len(session), 1)) > likely[:, :-1]).sum(axis=1)
    liked = programme.interests.track[programme.contexts.day[session], taste]
    return taste, (liked + rng.gumbel(size=liked.shape)).argmax(axis=1)


def _first_of_album(
    catalogue: Catalogue, favourite: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(T,) where playback of the album of each session's favourite track begins."""
    album = catalogue.album[favourite]
    first, last = catalogue.album_splits[album], catalogue.album_splits[album + 1]
    inside = (rng.random(len(album)) * (last - first)).astype(np.int64)
    return first + np.where(rng.random(len(album)) < _FROM_THE_BEGINNING, 0, inside)


def _themes(
    catalogue: Catalogue, programme: Programme, session: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(n,) style of each session's editorial playlist: what its context asks for, near a liking."""
    at = programme.contexts
    asked = demands(at.hour[session], at.is_weekend[session], at.device[session])
    log_odds = _THEME_STRENGTH * asked @ catalogue.style_traits.T
    genres = np.unique(GENRE_OF_STYLE[programme.user.tastes.style])
    log_odds += _THEME_FROM_STYLES_LIKED * np.isin(GENRE_OF_STYLE, genres)
    return (log_odds + rng.gumbel(size=log_odds.shape)).argmax(axis=1)
