"""Who listens: a user's age, activity, devices, tastes and library.

A user is drawn from (seed, user number) alone. Three traits that move the marginals of a log of a
few hundred users most (activity, nights, a desktop) walk through their distributions in a
low-discrepancy sequence over users instead, so that such a log already has the paper's averages.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from beam_pipelines.synthetic.catalogue import (
    GENRE_OF_STYLE,
    GENRE_SHARES,
    GENRES,
    STYLES_PER_GENRE,
    TRAITS,
    Catalogue,
)
from beam_pipelines.synthetic.config import PAPER_DAYS, SESSIONS_PER_USER, SyntheticConfig
from beam_pipelines.synthetic.contexts import (
    HABIT_SIGMA_BY_DEVICE,
    HABIT_SIGMA_BY_PERIOD,
    LISTENING_DEVICES,
    MOBILE,
    hour_weights,
)
from beam_pipelines.synthetic.sources import NUM_SOURCES, SOURCE_SHARES
from cosernn_tf.schema import AGE_UNKNOWN, PERIOD_OF_HOUR, PERIODS

USER_KEY: Final = 1
_SEQUENCE_KEY: Final = 2
LIBRARY_TRACKS: Final = 30
"""Tracks a user knows of each taste."""
NEVER: Final = -30.0
"""Log weight of what is not chosen while there is anything else."""

_UTC_OFFSETS = np.array([-480, -300, -180, 0, 60, 120, 330, 540])
_UTC_OFFSET_SHARES = np.array([0.10, 0.20, 0.12, 0.14, 0.22, 0.12, 0.06, 0.04])
_AGE_UNKNOWN_SHARE = 0.12

_ACTIVITY_SIGMA = 0.85
_MOST_SESSIONS = 1_100
# The cut at the most sessions, and sessions pushed out of the last day, cost some of the mean.
_ACTIVITY_CORRECTION = 1.03
_NIGHT_SIGMA = 1.6

_DESKTOP_OWNERS = 0.52
_DESKTOP_AFFINITY = 0.238
_OTHER_OWNERS = {"speaker": 0.4, "web": 0.38, "tablet": 0.32}
_OTHER_AFFINITY = 0.0265


@dataclass(frozen=True)
class Tastes:
    """K styles that a user likes."""

    style: np.ndarray
    """(K,)"""
    log_weight: np.ndarray
    """(K,) when no context asks and no interest is on."""
    by_period: np.ndarray
    """(K, periods) habits of this user, log-odds."""
    by_device: np.ndarray
    """(K, devices)"""
    at_weekend: np.ndarray
    """(K,)"""
    by_source: np.ndarray
    """(K, sources) where this user plays each taste from, log-odds."""
    library: np.ndarray
    """(K, M) tracks known."""
    library_log_weight: np.ndarray
    """(K, M) how much each is liked; `NEVER` for a track that stands twice."""


@dataclass(frozen=True)
class User:
    """One user."""

    user_id: str
    age: int
    """-1 unknown."""
    utc_offset_minutes: int
    num_sessions: int
    hour_weights: np.ndarray
    """(2, 24) weekdays and weekends, each row sums to 1."""
    device_affinity: np.ndarray
    """(devices,)"""
    session_length: float
    """Factor on the listens of a session."""
    skip_bias: float
    """Log-odds of a skip beyond other users'."""
    source_log_weight: np.ndarray
    """(sources,)"""
    tastes: Tastes


def draw_user(
    config: SyntheticConfig, catalogue: Catalogue, number: int, rng: np.random.Generator
) -> User:
    """User `number` of a world, before any listening."""
    activity, nights, desktop = _sequence(config, number)
    age = int(np.clip(14 + rng.gamma(2.2, 8.5), 14, 85))
    mean_sessions = SESSIONS_PER_USER * config.num_days / PAPER_DAYS * _ACTIVITY_CORRECTION
    factor = np.exp(_ACTIVITY_SIGMA * _normal(activity) - _ACTIVITY_SIGMA**2 / 2)
    most = _MOST_SESSIONS * config.num_days / PAPER_DAYS
    return User(
        user_id=f"u{number:07d}",
        age=AGE_UNKNOWN if rng.random() < _AGE_UNKNOWN_SHARE else age,
        utc_offset_minutes=int(rng.choice(_UTC_OFFSETS, p=_UTC_OFFSET_SHARES)),
        num_sessions=max(1, round(min(mean_sessions * factor, most))),
        hour_weights=_hours(rng, nights),
        device_affinity=_devices(rng, desktop),
        session_length=float(rng.lognormal(-0.045, 0.3)),
        skip_bias=float(rng.normal(0.0, 0.4)),
        source_log_weight=np.log(SOURCE_SHARES) + rng.normal(0.0, 0.7, NUM_SOURCES),
        tastes=_tastes(rng, catalogue, age),
    )


def _sequence(config: SyntheticConfig, number: int) -> np.ndarray:
    """Point `number` of the R3 low-discrepancy sequence in [0, 1)^3, shifted by the seed."""
    golden = 1.2207440846057596  # the real root of x^4 = x + 1
    shift = config.generator(_SEQUENCE_KEY).random(3)
    point: np.ndarray = (shift + (number + 1) / golden ** np.arange(1, 4)) % 1.0
    return point


def _normal(quantile: float) -> float:
    return NormalDist().inv_cdf(min(max(quantile, 1e-4), 1 - 1e-4))


def _hours(rng: np.random.Generator, nights: float) -> np.ndarray:
    """When the user listens: the population's hours, by habit of each period and hour."""
    habit = rng.lognormal(0.0, 0.45, len(PERIODS))
    # Most people are rarely up at night and some often: 23.5 % have no session there (Fig. 1).
    habit[0] = np.exp(_NIGHT_SIGMA * _normal(nights) - _NIGHT_SIGMA**2 / 2)
    weights = hour_weights() * habit[PERIOD_OF_HOUR] * rng.lognormal(0.0, 0.3, 24)
    normalized: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalized


def _devices(rng: np.random.Generator, desktop: float) -> np.ndarray:
    affinity = np.zeros(len(LISTENING_DEVICES))
    affinity[MOBILE] = 1.0
    if desktop < _DESKTOP_OWNERS:
        # Within the owners the quantile is uniform again: it also says how fond of it they are.
        affinity[LISTENING_DEVICES.index("desktop")] = _DESKTOP_AFFINITY * np.exp(
            0.7 * _normal(desktop / _DESKTOP_OWNERS)
        )
    for device, owners in _OTHER_OWNERS.items():
        owns, fondness = rng.random(), rng.lognormal(0.0, 0.6)
        if owns < owners:
            affinity[LISTENING_DEVICES.index(device)] = _OTHER_AFFINITY * fondness
    return affinity


def _tastes(rng: np.random.Generator, catalogue: Catalogue, age: int) -> Tastes:
    typical_age = np.array([genre.typical_age for genre in GENRES])
    by_age = GENRE_SHARES * np.exp(-0.5 * ((age - typical_age) / 16.0) ** 2)
    genres = rng.choice(len(GENRES), rng.integers(3, 6), False, by_age / by_age.sum())
    genre_weight = rng.dirichlet(np.full(len(genres), 2.0))
    num_main = int(rng.integers(3, 6))
    main = rng.choice(genres, num_main, p=genre_weight) * STYLES_PER_GENRE
    main += rng.integers(0, STYLES_PER_GENRE, num_main)
    # Music for a purpose (to wake, to wind down, to concentrate, for guests): few sessions by
    # itself, but what its contexts ask for.
    purposes = [
        _style_with(rng, catalogue, trait) for trait in range(len(TRAITS) - 1) if rng.random() < 0.6
    ]
    style = np.unique(np.concatenate([main, np.array(purposes, np.int64)]))
    is_purpose = np.isin(style, purposes) & ~np.isin(style, main)
    num_tastes = len(style)
    log_weight = np.log(rng.gamma(0.8, 1.0, num_tastes) + 0.05) - 1.2 * is_purpose
    library = _library(rng, catalogue, style)
    repeats = np.sort(library, axis=1)[:, 1:] == np.sort(library, axis=1)[:, :-1]
    library.sort(axis=1)
    liked = -2.5 * np.log1p(np.argsort(rng.random(library.shape), axis=1))
    liked += rng.normal(0.0, 0.3, library.shape)
    liked[:, 1:][repeats] = NEVER
    return Tastes(
        style=style,
        log_weight=log_weight,
        by_period=rng.normal(0.0, HABIT_SIGMA_BY_PERIOD, (num_tastes, len(PERIODS))),
        by_device=rng.normal(0.0, HABIT_SIGMA_BY_DEVICE, (num_tastes, len(LISTENING_DEVICES))),
        at_weekend=rng.normal(0.0, 0.2, num_tastes),
        by_source=rng.normal(0.0, 0.9, (num_tastes, NUM_SOURCES)),
        library=library,
        library_log_weight=liked,
    )


def _style_with(rng: np.random.Generator, catalogue: Catalogue, trait: int) -> int:
    """A style that has much of a trait, the genre's size apart."""
    odds = np.exp(3.0 * catalogue.style_traits[:, trait]) * np.sqrt(GENRE_SHARES[GENRE_OF_STYLE])
    return int(rng.choice(len(odds), p=odds / odds.sum()))


def _library(rng: np.random.Generator, catalogue: Catalogue, style: np.ndarray) -> np.ndarray:
    """(K, M) tracks of each style, half of them by the user's three artists of it."""
    shape = (len(style), LIBRARY_TRACKS)
    popular = catalogue.draw_from_style(np.broadcast_to(style[:, None], shape), rng.random(shape))
    artists = catalogue.artist[popular[:, :3]]
    picked = np.take_along_axis(artists, rng.integers(0, 3, shape), axis=1)
    by_artist = catalogue.draw_from_artist(picked, rng.random(shape))
    library: np.ndarray = np.where(rng.random(shape) < 0.5, popular, by_artist)
    return library
