"""Some users' sessions with what the analyses of their music take: embeddings and numbers drawn."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from cosernn_tf.analysis.sampling import uniforms, user_keys
from cosernn_tf.features import is_embedded, normalize, track_sums
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION
from cosernn_tf.table import SessionTable

_SESSIONS: Final = "sessions"
_LISTENS: Final = "listens"


@dataclass(frozen=True)
class Block:
    """Sessions of whole users, S in all."""

    table: SessionTable
    track_embeddings: np.ndarray
    """(tracks, dim) float32, unit norm; zero where a track has none."""
    seed: int

    @cached_property
    def sums(self) -> np.ndarray:
        """(S, dim) float32: sum of the embeddings of the kept listens."""
        return track_sums(self.table, self.track_embeddings).sum(axis=1)

    @cached_property
    def vectors(self) -> np.ndarray:
        """(S, dim) float32: s (§3.3), of unit length; zero where no track has an embedding."""
        return normalize(self.sums)

    @cached_property
    def is_embedded_listen(self) -> np.ndarray:
        """(S, 10) bool: a kept listen whose track has an embedding."""
        return is_embedded(self.table, self.track_embeddings)

    @cached_property
    def session_numbers(self) -> np.ndarray:
        """(S,) in [0, 1), which decide what sessions are drawn."""
        return uniforms(self._keys(_SESSIONS), self.table.position)

    @cached_property
    def listen_numbers(self) -> np.ndarray:
        """(S, 10) in [0, 1), which decide what listens are drawn."""
        place = self.table.position[:, None] * MAX_TRACKS_PER_SESSION
        place = place + np.arange(MAX_TRACKS_PER_SESSION)
        return uniforms(self._keys(_LISTENS)[:, None], place)

    def _keys(self, stream: str) -> np.ndarray:
        keys = user_keys(self.table.user_id, seed=self.seed, stream=stream)
        return keys[self.table.user_of_session]
