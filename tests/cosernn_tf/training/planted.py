"""Planted logs: of every session it is known how well it can be predicted, and from what.

A session plays one track, v = κ a + √(1 - κ²) n. The archetype a is what the log's rule gives the
session; n is noise, orthogonal to all archetypes and as likely as -n. So E[v | known] is
κ E[a | known], whatever is known before the session, and of all unit vectors u the one along it has
the greatest E[uᵀv], κ ‖E[a | known]‖: the optimum. As the archetypes sum to zero and all are as
likely, it is zero where nothing is known of a. The session skips a second track.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cosernn_tf.schema import EMBEDDING_DIM, MAX_TRACKS_PER_SESSION, SECONDS_PER_DAY
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import Workspace
from tests.workspaces import DAYS, FIRST_SECOND, STREAM_SOURCES, write_sessions, write_tracks

KAPPA: Final = 0.85
NUM_USERS: Final = 40
SESSIONS_PER_USER: Final = 60
_NOISES: Final = 20
"""Half of them opposite to the others."""


@dataclass(frozen=True)
class Planted:
    """A log, and what is known of its sessions."""

    table: SessionTable
    vectors: np.ndarray
    """(tracks, dim) float32, unit norm."""
    expected: np.ndarray
    """E[v | known] of each session, (S, dim): its direction is the best prediction."""
    optimum: float
    """Expected cosine of the best prediction of a session that has enough others before it."""

    def write(self, root: Path) -> Workspace:
        workspace = Workspace(root)
        sessions = write_sessions(workspace.sessions, self.table, num_tracks=len(self.vectors))
        write_tracks(workspace.tracks, sessions, vectors=self.vectors)
        return workspace


def axes(first: int, count: int) -> np.ndarray:
    """(2 count, dim): axes of the space from `first` on, and their opposites."""
    of_space = np.eye(EMBEDDING_DIM)[first : first + count]
    return np.concatenate([of_space, -of_space])


CONTEXTS: Final = axes(0, 3)
TASTES: Final = axes(20, 20)


def by_context(seed: int = 0) -> Planted:
    """The context alone tells the archetype: device and half of the day, neither without the other.

    All is known: the optimum is κ. Without the context it is 0, since contexts follow each other at
    random.
    """
    random = np.random.default_rng(seed)
    columns = _random_columns(random)
    archetype = _of_context(columns)
    return _planted(
        random, columns, CONTEXTS, archetype, expected=CONTEXTS[archetype], optimum=KAPPA
    )


RESET: Final = 0.1
"""How often a sequence begins anew."""


def by_sequence(seed: int = 0) -> Planted:
    """The session before the last tells the archetype, as a rule; the last has no say.

    With probability 1 - r it is the archetype after that one, else any: as all sum to zero,
    E[a | known] is (1 - r) times the one after. The optimum is κ (1 - r).
    """
    random = np.random.default_rng(seed)
    columns = _random_columns(random)
    # Context, and what else is known, is the same all the time.
    columns |= {name: np.ones_like(columns[name]) for name in ("day_of_week", "hour", "device")}
    shape = (NUM_USERS, SESSIONS_PER_USER)
    count = len(CONTEXTS)
    archetype = random.integers(0, count, shape)
    begins = random.random(shape) < RESET
    expected = np.zeros((*shape, EMBEDDING_DIM))
    for t in range(2, SESSIONS_PER_USER):
        following = (archetype[:, t - 2] + 1) % count
        expected[:, t] = (1 - RESET) * CONTEXTS[following]
        archetype[:, t] = np.where(begins[:, t], archetype[:, t], following)
    return _planted(
        random,
        columns,
        CONTEXTS,
        archetype.ravel(),
        expected=expected.reshape(-1, EMBEDDING_DIM),
        optimum=KAPPA * (1 - RESET),
    )


def by_taste_and_context(seed: int = 0) -> Planted:
    """Half of the archetype is the user's taste, which only a long history tells; half the context.

    With both known the optimum is κ, with one of them κ / √2. There are too many tastes, and too
    much noise in a session, to tell one from the last session.
    """
    random = np.random.default_rng(seed)
    columns = _random_columns(random)
    taste = np.repeat(random.permutation(len(TASTES)), SESSIONS_PER_USER)
    archetypes = (CONTEXTS[:, None] + TASTES).reshape(-1, EMBEDDING_DIM) / np.sqrt(2)
    archetype = _of_context(columns) * len(TASTES) + taste
    return _planted(
        random,
        columns,
        archetypes,
        archetype,
        # What is skipped is of the user's taste, too.
        skipped=archetype,
        expected=archetypes[archetype],
        optimum=KAPPA,
    )


LOGS: Final[dict[str, Callable[[], Planted]]] = {
    "context": by_context,
    "sequence": by_sequence,
    "taste and context": by_taste_and_context,
}


def _of_context(columns: dict[str, np.ndarray]) -> np.ndarray:
    """(S,) row of `CONTEXTS`: the device is the axis, the half of the day its direction."""
    return columns["device"] - 1 + 3 * (columns["hour"] // 12)


def _random_columns(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Of sessions whose contexts, gaps and sources tell nothing of each other."""
    count = NUM_USERS * SESSIONS_PER_USER
    days = np.sort(random.random((NUM_USERS, SESSIONS_PER_USER)) * DAYS, axis=1)
    return {
        "session_start": FIRST_SECOND + (days.ravel() * SECONDS_PER_DAY).astype(np.int64),
        # The clock of a user who travels all the time.
        "day_of_week": random.integers(0, 7, count),
        "hour": random.integers(0, 24, count),
        "device": random.integers(1, 4, count),
        "stream_source": random.integers(0, len(STREAM_SOURCES), count),
        "num_tracks": random.integers(2, 20, count),
        "seconds_since_last": random.integers(1_200, 200_000, count),
    }


def _planted(
    random: np.random.Generator,
    columns: dict[str, np.ndarray],
    archetypes: np.ndarray,
    archetype: np.ndarray,
    *,
    skipped: np.ndarray | None = None,
    expected: np.ndarray,
    optimum: float,
) -> Planted:
    """Draws the tracks: `expected` is E[a | known], `skipped` the archetype of the second track."""
    noise = np.sqrt(1 - KAPPA**2) * axes(10, _NOISES // 2)
    vectors = (KAPPA * archetypes[:, None] + noise).reshape(-1, EMBEDDING_DIM)
    if skipped is None:
        skipped = random.permutation(archetype)
    count = len(archetype)
    shape = (count, MAX_TRACKS_PER_SESSION)
    track, is_skipped = np.full(shape, -1), np.full(shape, -1)
    rows = np.stack([archetype, skipped], axis=1) * _NOISES
    track[:, :2] = rows + random.integers(0, _NOISES, (count, 2))
    is_skipped[:, :2] = [0, 1]
    table = SessionTable(
        row_splits=np.arange(NUM_USERS + 1) * SESSIONS_PER_USER,
        user_id=np.array([b"user-%d" % row for row in range(NUM_USERS)], object),
        user_age=np.full(NUM_USERS, -1),
        track=track,
        skipped=is_skipped,
        **columns,
    )
    return Planted(table, vectors.astype(np.float32), KAPPA * expected, optimum)
