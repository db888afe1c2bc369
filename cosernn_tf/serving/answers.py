"""What a recommender is asked, and what it answers."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosernn_tf.errors import on_a_line
from cosernn_tf.serving.listens import Context


@dataclass(frozen=True, slots=True)
class RecommendRequest:
    """One user in one context."""

    user: str
    context: Context
    k: int = 10
    exclude_heard: bool = False
    """Leave out the tracks of the user's sessions: of those of the log as kept there, ten each."""


@dataclass(frozen=True)
class Prediction:
    """For one user in one context."""

    embedding: np.ndarray
    """u, (dim,) float32, unit norm."""
    attention: np.ndarray | None
    """[β̂, β̄], (2,) float32, of models that have it."""
    earlier_sessions: int
    """Of the user; with 0 it rests on age and context alone."""


@dataclass(frozen=True)
class FromLog:
    """Of n users in one context."""

    embeddings: np.ndarray
    """u, (n, dim) float32, unit norm."""
    attention: np.ndarray | None
    """[β̂, β̄], (n, 2) float32, of models that have it."""
    records: np.ndarray
    """(n,) what they rest on (`user_state.record_type`); valid until the next context."""


@dataclass(frozen=True)
class RankedTrack:
    """A recommended track."""

    rank: int
    """From 1."""
    track_id: str
    score: float
    """Cosine of the user embedding and the track embedding."""


@dataclass(frozen=True)
class Recommendation:
    """The answer for one user in one context."""

    user: str
    run: str
    at: str
    """Start of the session, RFC 3339, with the offset of the user's clock."""
    device: str
    day_of_week: str
    hour: int
    """0..23 on the user's clock."""
    earlier_sessions: int
    """Of the user, that the answer rests on; with 0 it rests on age and context alone."""
    long_term_attention: float | None
    """β̄, the weight of the long-term embedding against the offset (§5.1.4); None without one."""
    tracks: tuple[RankedTrack, ...]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """A heading and a table, for people."""
        attention = (
            ""
            if self.long_term_attention is None
            else f", attention on the long-term embedding: {self.long_term_attention:.2f}"
        )
        history = f"earlier sessions: {self.earlier_sessions or 'none (cold start)'}"
        names = [on_a_line(track.track_id) for track in self.tracks]
        width = max(map(len, ["track", *names]))
        lines = [
            f"{on_a_line(self.user)} on {self.device} at {self.at} "
            f"({self.day_of_week}, {self.hour:02}h)",
            f"run: {self.run}, {history}{attention}",
            "",
            f"{'rank':>4}  {'track':<{width}}  {'score':>6}",
            *(
                f"{track.rank:>4}  {name:<{width}}  {track.score:>6.3f}"
                for track, name in zip(self.tracks, names, strict=True)
            ),
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class PastTrack:
    """A listen of a past session."""

    track_id: str | None
    """None: it was cut from the vocabulary."""
    skipped: bool


@dataclass(frozen=True)
class PastSession:
    """A session of a user's history."""

    start: int
    """UTC seconds."""
    device: str
    day_of_week: str
    hour: int
    """0..23 on the user's clock."""
    num_tracks: int
    """Listens in all."""
    tracks: tuple[PastTrack, ...]
    """The first ten."""
    is_open: bool
    """A next listen may still belong to it."""
