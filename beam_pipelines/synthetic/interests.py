"""What a user is into from day to day: tastes come and go in spells, tracks are adopted and fade.

All of it is discrete: a spell begins on a day and ends on a day, a track is found on a day. The
state that matters to a model (what is on at present) is never written to the log.
"""

from dataclasses import dataclass

import numpy as np

from beam_pipelines.synthetic.catalogue import TRAITS
from beam_pipelines.synthetic.users import LIBRARY_TRACKS, NEVER, Tastes

_SPELL_LOG_ODDS = 1.5
_SPELL_SHARE = 0.8
_SPELL_DAYS = (1.6, 2.6)  # shape and scale of a gamma distribution
_WEARY_SHARE = 0.6
_WEARY_LOG_ODDS = -2.2
_WEARY_DAYS = (2.0, 2.2)
_PASSING_SHARE = 0.2

_ADOPTED_SHARE = 0.55
_ADOPTED_LOG_ODDS = 2.0
_FADED_LOG_ODDS = -1.2
_RETURN_SHARE = 0.4
_RETURN_LOG_ODDS = 1.8

_MOOD_TRAITS = np.array([TRAITS.index("energy"), TRAITS.index("calm"), TRAITS.index("focus")])
_MOOD_SIGMA = 0.4


@dataclass(frozen=True)
class Interests:
    """State of a user's interests on each of D days."""

    taste: np.ndarray
    """(D, K) log-odds."""
    weary: np.ndarray
    """(D, K) bool: had enough of a taste after a spell of it."""
    track: np.ndarray
    """(D, K, M) log weight within a taste's library; `NEVER` for one not yet found."""
    mood: np.ndarray
    """(D, traits) log-odds of each trait."""


def draw_interests(num_days: int, tastes: Tastes, rng: np.random.Generator) -> Interests:
    """The course of a user's interests."""
    taste = _passing(num_days, len(tastes.style), rng)
    weary = np.zeros(taste.shape, bool)
    _add_spells(taste, weary, tastes.log_weight, rng)
    mood = np.zeros((num_days, len(TRAITS)))
    mood[:, _MOOD_TRAITS] = rng.normal(0.0, _MOOD_SIGMA, (num_days, len(_MOOD_TRAITS)))
    return Interests(
        taste=taste,
        weary=weary,
        track=_tracks(num_days, tastes, rng),
        mood=mood,
    )


def _passing(num_days: int, num_tastes: int, rng: np.random.Generator) -> np.ndarray:
    """(D, K) interests that enter at once and fade over weeks, or 0 for the lasting ones."""
    begin = rng.uniform(-25.0, num_days, num_tastes)
    half_life = rng.uniform(8.0, 20.0, num_tastes)
    age = np.arange(num_days)[:, None] - begin
    course = np.where(age < 0, -3.0, 1.2 - np.log(2.0) * np.maximum(age, 0.0) / half_life)
    passes = rng.random(num_tastes) < _PASSING_SHARE
    return np.where(passes, np.maximum(course, -3.0), 0.0)


def _add_spells(
    taste: np.ndarray, weary: np.ndarray, log_weight: np.ndarray, rng: np.random.Generator
) -> None:
    """Adds spells: some days into one taste, after which it may be wearisome for a while."""
    num_days = len(taste)
    day = -rng.integers(0, 6)
    while day < num_days:
        length = 1 + round(rng.gamma(*_SPELL_DAYS))
        end = day + length
        if rng.random() < _SPELL_SHARE:
            liking = log_weight + taste[np.clip(day, 0, num_days - 1)]
            chosen = int(np.argmax(0.6 * liking + rng.gumbel(size=len(liking))))
            taste[max(day, 0) : max(end, 0), chosen] += _SPELL_LOG_ODDS
            if rng.random() < _WEARY_SHARE:
                rest = slice(max(end, 0), max(end + 1 + round(rng.gamma(*_WEARY_DAYS)), 0))
                taste[rest, chosen] += _WEARY_LOG_ODDS
                weary[rest, chosen] = True
        day = end


def _tracks(num_days: int, tastes: Tastes, rng: np.random.Generator) -> np.ndarray:
    """(D, K, M): old favourites with their returns; finds, played often and then fading."""
    shape = (len(tastes.style), LIBRARY_TRACKS)
    day = np.arange(num_days)[:, None, None]
    is_find = rng.random(shape) < _ADOPTED_SHARE
    age = day - rng.uniform(-25.0, num_days, shape)
    fade = _ADOPTED_LOG_ODDS - np.log(2.0) * np.maximum(age, 0.0) / rng.uniform(6.0, 18.0, shape)
    find = np.where(age < 0, NEVER, np.maximum(fade, _FADED_LOG_ODDS))
    since_return = day - rng.uniform(0.0, num_days, shape)
    returns = rng.random(shape) < _RETURN_SHARE
    favourite = np.where(
        returns & (since_return >= 0),
        _RETURN_LOG_ODDS * np.exp(-np.maximum(since_return, 0.0) / 9.0),
        0.0,
    )
    course: np.ndarray = tastes.library_log_weight + np.where(is_find, find, favourite)
    return course
