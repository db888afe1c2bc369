"""Options of a synthetic log, and the figures of the paper that it is held to."""

import datetime
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.errors import UserError

GENERATOR_VERSION: Final = 3
"""Raised when the same options would give another log, so that an older log is not reused."""

PURPOSE: Final = (
    "This log is synthetic: results on it compare models with each other only, "
    "never with the numbers of the paper, whose data are private."
)

FIRST_SECOND: Final = int(datetime.datetime(2019, 4, 1, tzinfo=datetime.UTC).timestamp())
PAPER_DAYS: Final = 61
SESSIONS_PER_USER: Final = 220
TRACKS_PER_SESSION: Final = 10
"""1 April to 31 May 2019; the last two are averages (§3)."""

_RANGES: Final = {
    "num_users": (1, 10_000_000),
    "num_tracks": (2_000, 2_000_000),
    "num_days": (1, 1_000),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True)
class SyntheticConfig:
    """Options of a synthetic log; logs of equal options are equal byte for byte.

    Raises:
        UserError: An option is out of its range.
    """

    num_users: int = 400
    """User i is the same person, with the same listens, whatever this number is."""
    num_tracks: int = 20_000
    """Size of the catalogue; memory grows with it, not with the users."""
    num_days: int = PAPER_DAYS
    """Days from 1 April 2019, 00:00 UTC; sessions a user grow in proportion."""
    seed: int = 1

    def __post_init__(self) -> None:
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise UserError(f"--{name}={value}: must be from {lowest} to {highest}")

    @property
    def num_playlists(self) -> int:
        """Enough that a track stands in 25 of them on average, for its embedding to settle."""
        return 3 * self.num_tracks // 5

    def generator(self, *key: int) -> np.random.Generator:
        """Random numbers of one part of the world, independent of every other part's."""
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key))
        )
