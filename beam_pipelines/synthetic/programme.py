"""What each session is about: its taste and its stream source, session after session."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from beam_pipelines.synthetic.catalogue import GENRE_OF_STYLE, TRAITS, Catalogue
from beam_pipelines.synthetic.contexts import demands
from beam_pipelines.synthetic.interests import Interests
from beam_pipelines.synthetic.sources import NUM_SOURCES, SOURCE_MAINSTREAM
from beam_pipelines.synthetic.timetable import Contexts
from beam_pipelines.synthetic.users import Tastes, User

CONTEXT_STRENGTH: Final = 2.0
"""Log-odds of a taste per unit of a context's demand for its traits."""

_MAINSTREAM = TRAITS.index("mainstream")

# After a short break people go on with what they had, the less the longer the break.
_STAY_SHARE = 0.8
_STAY_HOURS = 3.0
_SAME_SOURCE_SHARE = 0.55
_SAME_SOURCE_HOURS = 10.0
# A session that does not please is skipped through, and its taste is left alone next time.
# Music that is not what the user mostly plays is likelier to displease.
_MISFIT_SHARE = 0.3
_MISFIT_POWER = 4.0
_MISFIT_LOG_ODDS = -3.5


@dataclass(frozen=True)
class Programme:
    """T sessions of a user, before their tracks."""

    user: User
    interests: Interests
    contexts: Contexts
    taste: np.ndarray
    """(T,) row of the user's tastes."""
    fit: np.ndarray
    """(T, K) probability of each taste, given context and interests; rows sum to 1."""
    is_misfit: np.ndarray
    """(T,) bool: the user turns out not to want this session's taste."""
    source: np.ndarray
    """(T,) row of `SOURCES`."""


def plan_sessions(
    catalogue: Catalogue,
    user: User,
    interests: Interests,
    contexts: Contexts,
    rng: np.random.Generator,
) -> Programme:
    """Draws taste and source of each session of a user."""
    log_odds = _log_odds(catalogue, user, interests, contexts)
    count = len(log_odds)
    fit = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    fit /= fit.sum(axis=1, keepdims=True)
    misfit_odds = _MISFIT_SHARE * (1.0 - _familiarity(user.tastes)) ** _MISFIT_POWER
    gap = contexts.hours_since_last
    stays = rng.random(count) < _STAY_SHARE * np.exp(-gap / _STAY_HOURS)
    taste, is_misfit = _tastes(
        log_odds + rng.gumbel(size=log_odds.shape), stays, misfit_odds, rng.random(count)
    )

    asked = demands(contexts.hour, contexts.is_weekend, contexts.device)[:, _MAINSTREAM]
    source_odds = user.source_log_weight + user.tastes.by_source[taste]
    source_odds += asked[:, None] * SOURCE_MAINSTREAM
    source = (source_odds + rng.gumbel(size=(count, NUM_SOURCES))).argmax(axis=1)
    is_new = rng.random(count) >= _SAME_SOURCE_SHARE * np.exp(-gap / _SAME_SOURCE_HOURS)
    is_new[0] = True
    source = source[np.maximum.accumulate(np.where(is_new, np.arange(count), 0))]
    return Programme(
        user=user,
        interests=interests,
        contexts=contexts,
        taste=taste,
        fit=fit,
        is_misfit=is_misfit,
        source=source,
    )


def _familiarity(tastes: Tastes) -> np.ndarray:
    """(K,) how much of a taste's genre the user likes, 1 for the genre liked most."""
    genre = GENRE_OF_STYLE[tastes.style]
    liking = (genre[:, None] == genre) @ np.exp(tastes.log_weight)
    familiarity: np.ndarray = liking / liking.max()
    return familiarity


def _log_odds(
    catalogue: Catalogue, user: User, interests: Interests, contexts: Contexts
) -> np.ndarray:
    """(T, K) of each taste: the context's demands, the user's habits, what is on at present."""
    tastes = user.tastes
    asked = demands(contexts.hour, contexts.is_weekend, contexts.device)
    asked = CONTEXT_STRENGTH * asked + interests.mood[contexts.day]
    log_odds: np.ndarray = (
        tastes.log_weight
        + asked @ catalogue.style_traits[tastes.style].T
        + tastes.by_period[:, contexts.period].T
        + tastes.by_device[:, contexts.device].T
        + tastes.at_weekend * contexts.is_weekend[:, None]
        + interests.taste[contexts.day]
    )
    return log_odds


def _tastes(
    scores: np.ndarray, stays: np.ndarray, misfit_odds: np.ndarray, uniform: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Taste of each session, and whether it displeases.

    Args:
        scores: (T, K); the best-scored taste is taken, unless the session stays with the last one.
        stays: (T,) bool.
        misfit_odds: (K,) probability that a taste displeases.
        uniform: (T,) of [0, 1), the draws for that.

    Returns:
        (T,) rows of tastes and (T,) bool.
    """
    taste = scores.argmax(axis=1)
    is_misfit = np.zeros(len(taste), bool)
    for session in range(len(taste)):
        last = taste[session - 1]
        if session and is_misfit[session - 1]:
            scores[session, last] += _MISFIT_LOG_ODDS
            taste[session] = scores[session].argmax()
        elif session and stays[session]:
            taste[session] = last
        is_misfit[session] = uniform[session] < misfit_odds[taste[session]]
    return taste, is_misfit
