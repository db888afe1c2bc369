"""A user's listens from first to last: which of the tracks are skipped, and when each starts."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from beam_pipelines.synthetic.catalogue import (
    GENRE_OF_STYLE,
    GENRE_TRAITS,
    GENRES,
    NUM_STYLES,
    TRAITS,
    Catalogue,
)
from beam_pipelines.synthetic.config import (
    FIRST_SECOND,
    TRACKS_PER_SESSION,
    SyntheticConfig,
)
from beam_pipelines.synthetic.contexts import DEVICE_ROWS
from beam_pipelines.synthetic.interests import draw_interests
from beam_pipelines.synthetic.programme import Programme, plan_sessions
from beam_pipelines.synthetic.sources import SOURCE_LENGTHS
from beam_pipelines.synthetic.timetable import draw_contexts, separate
from beam_pipelines.synthetic.tracks import Selection, select_tracks
from beam_pipelines.synthetic.users import User
from cosernn_tf.schema import SECONDS_PER_DAY

SKIP_MS: Final = 30_000
"""A listen below this is skipped; `ms_played` and `skipped` agree on it (README, decision 2)."""

_PROPOSALS_PER_SESSION = 1.8
_LENGTH_SIGMA = 0.95
_LONGEST_SESSION = 150
# Rounding, the floor of one listen and the sources' factors, together.
_LENGTH_CORRECTION = 0.965
_TYPICAL_TRACK_SECONDS = 170

_SKIP_LOG_ODDS = -2.0
# Below this fit a track is foreign to the user, the more the further below.
_FAMILIAR_FIT = 0.1
_SKIP_PER_LOG_FIT = -1.1
_LOG_FIT_FLOOR = 0.01
_SAME_GENRE_FIT = 0.3
_SAME_MAINSTREAM_FIT = 0.2
_SKIP_KNOWN = -0.6
_SKIP_FADED = 0.7
_SKIP_WEARY = 1.2
_SKIP_MISFIT = 4.5
# A restless listener skips whatever comes, a displeased one (a misfit) nearly all: this is what
# makes the relation of Fig. 2b stronger among sessions with many skips.
_RESTLESS_SHARE = 0.08
_SKIP_RESTLESS = 2.3

_SHORTEST_LISTEN_MS = 1_000
_FINISHED_SHARE = 0.88
_PAUSE_SHARE = 0.012
_LONGEST_PAUSE_SECONDS = 900


@dataclass(frozen=True)
class Listens:
    """n listens of one user in time order; every array has shape (n,)."""

    track: np.ndarray
    """Row of the catalogue."""
    timestamp: np.ndarray
    """UTC seconds."""
    ms_played: np.ndarray
    is_skipped: np.ndarray
    device: np.ndarray
    """Row of `cosernn_tf.schema.DEVICES`."""
    source: np.ndarray
    """Row of `SOURCES`."""
    num_sessions: int


def draw_listens(
    config: SyntheticConfig, catalogue: Catalogue, user: User, rng: np.random.Generator
) -> Listens:
    """Everything that a user listens to."""
    proposals = math.ceil(_PROPOSALS_PER_SESSION * user.num_sessions)
    lengths = rng.lognormal(-(_LENGTH_SIGMA**2) / 2, _LENGTH_SIGMA, proposals)
    lengths *= TRACKS_PER_SESSION * user.session_length * _LENGTH_CORRECTION
    interests = draw_interests(config.num_days, user.tastes, rng)
    seconds = (_TYPICAL_TRACK_SECONDS * lengths).astype(np.int64)
    contexts, kept = draw_contexts(config, user, seconds, rng)
    programme = plan_sessions(catalogue, user, interests, contexts, rng)
    lengths = np.clip(
        np.rint(lengths[kept] * SOURCE_LENGTHS[programme.source]), 1, _LONGEST_SESSION
    )
    selection = select_tracks(catalogue, programme, lengths.astype(np.int64), rng)

    is_skipped = _skips(catalogue, programme, selection, rng)
    ms_played = _play_times(catalogue.duration_ms[selection.track], is_skipped, rng)
    elapsed = ms_played // 1000 + _pauses(len(ms_played), rng)
    # Lengths are known only now, so that a few sessions have to move on a little more.
    session = selection.session
    session_seconds = np.bincount(session, elapsed).astype(np.int64)
    start = separate(contexts.start, session_seconds, rng)
    before = np.cumsum(elapsed) - elapsed
    timestamp = start[session] + before - (np.cumsum(session_seconds) - session_seconds)[session]
    is_in_time = timestamp < FIRST_SECOND + config.num_days * SECONDS_PER_DAY
    return Listens(
        track=selection.track[is_in_time],
        timestamp=timestamp[is_in_time],
        ms_played=ms_played[is_in_time],
        is_skipped=is_skipped[is_in_time],
        device=DEVICE_ROWS[contexts.device][session][is_in_time],
        source=programme.source[session][is_in_time],
        num_sessions=len(np.unique(session[is_in_time])),
    )


def _skips(
    catalogue: Catalogue,
    programme: Programme,
    selection: Selection,
    rng: np.random.Generator,
) -> np.ndarray:
    """(n,) bool: the further a track is from what fits the user now, the likelier."""
    session, from_taste = selection.session, selection.taste
    fit = _style_fit(programme)[session, catalogue.style[selection.track]]
    genre = GENRE_OF_STYLE[catalogue.style[selection.track]]
    is_of_main_genre = (
        genre == GENRE_OF_STYLE[programme.user.tastes.style[programme.taste]][session]
    )
    is_weary = programme.interests.weary[programme.contexts.day[session], from_taste]
    log_odds = (
        _SKIP_LOG_ODDS
        + programme.user.skip_bias
        + _SKIP_PER_LOG_FIT * np.log(_LOG_FIT_FLOOR + np.minimum(fit / _FAMILIAR_FIT, 1.0))
        + _SKIP_KNOWN * (from_taste >= 0)
        + _SKIP_FADED * selection.is_faded
        + _SKIP_WEARY * (is_weary & (from_taste >= 0))
        + _SKIP_MISFIT * (programme.is_misfit[session] & is_of_main_genre)
        + _SKIP_RESTLESS * (rng.random(len(programme.taste)) < _RESTLESS_SHARE)[session]
    )
    return rng.random(len(session)) < 1 / (1 + np.exp(-log_odds))


def _style_fit(programme: Programme) -> np.ndarray:
    """(T, styles) how well each style fits: its taste's probability, and some of others near it."""
    style = programme.user.tastes.style
    of_style = np.zeros((len(programme.fit), NUM_STYLES))
    of_style[:, style] = programme.fit
    in_genre = np.eye(len(GENRES))[GENRE_OF_STYLE]
    mainstream = GENRE_TRAITS[GENRE_OF_STYLE, TRAITS.index("mainstream")]
    return (
        of_style
        + _SAME_GENRE_FIT * (of_style @ in_genre)[:, GENRE_OF_STYLE]
        + _SAME_MAINSTREAM_FIT * (of_style @ mainstream)[:, None] * mainstream
    )


def _play_times(
    duration_ms: np.ndarray, is_skipped: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(n,) milliseconds; below `SKIP_MS` exactly where skipped."""
    count = len(duration_ms)
    heard = np.where(rng.random(count) < _FINISHED_SHARE, 1.0, rng.uniform(0.4, 1.0, count))
    played = np.maximum(duration_ms * heard, SKIP_MS)
    skimmed = _SHORTEST_LISTEN_MS + rng.exponential(9_000.0, count)
    return np.where(is_skipped, np.minimum(skimmed, SKIP_MS - 1), played).astype(np.int64)


def _pauses(count: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) seconds after each listen, well below the inactivity that would end the session."""
    is_long = rng.random(count) < _PAUSE_SHARE
    long = rng.integers(30, _LONGEST_PAUSE_SECONDS, count)
    return np.where(is_long, long, rng.integers(0, 3, count))
