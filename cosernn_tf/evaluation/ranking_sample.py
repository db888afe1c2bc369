"""Ranking metrics of a fixed sample of sessions, which every epoch of training can afford."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.evaluation import metrics
from cosernn_tf.evaluation.candidates import (
    SessionCandidates,
    TrackCandidates,
    session_candidates,
    track_candidates,
)
from cosernn_tf.features import normalize
from cosernn_tf.table import SessionTable

SAMPLED_SESSIONS: Final = 2_000
"""Default size; the candidates' vectors of each take 8 KB."""

_SEED: Final = 1

_ROWS_AT_ONCE: Final = 256
"""Sessions whose tracks' vectors are gathered at once: 4 MB."""


@dataclass(frozen=True)
class SampleScores:
    """Of one model, over the sampled sessions that each metric scores (decision 11)."""

    means: Mapping[str, float]
    """By name of the metric: of the reciprocal rank and the average precision at each K."""
    confusion: Mapping[int, np.ndarray]
    """By K of track ranking: `metrics.confusion`."""


@dataclass(frozen=True)
class _Part:
    """What is sampled of one block of users."""

    targets: np.ndarray
    """(n,) int64 rows of the block's table."""
    sessions: SessionCandidates
    vectors: np.ndarray
    """(n, K, dim) float32: s⁺ of the candidate sessions."""
    tracks: TrackCandidates


class RankingSample:
    """Scores the same sessions of a split at every pass over its blocks of users.

    The first pass draws them, from as many blocks as it takes, and builds their candidates; shards
    are filled by a hash of the user, so the users of the first blocks are a random sample already.
    Later passes must bring the same blocks in the same order.
    """

    def __init__(
        self,
        track_embeddings: np.ndarray,
        *,
        limit: int = SAMPLED_SESSIONS,
        seed: int = _SEED,
    ) -> None:
        """Draws nothing yet.

        Args:
            track_embeddings: (tracks, dim) float32, unit norm, zero where a track has none.
            limit: Sessions that are sampled, at most.
            seed: Of the choice.
        """
        self._track_embeddings = track_embeddings
        self._random = np.random.default_rng(seed)
        self._missing = limit
        self._parts: list[_Part] = []
        self._drawn = False
        self._block = 0
        self._scores: dict[str, list[np.ndarray]] = {}
        self._confusion: dict[int, np.ndarray] = {}

    def add(
        self,
        table: SessionTable,
        played: np.ndarray,
        *,
        sessions: np.ndarray,
        predictions: np.ndarray,
    ) -> None:
        """Scores what is sampled of the next block.

        Args:
            table: S sessions, whole histories.
            played: s⁺, (S, dim) float32; zero where a session has none.
            sessions: (n,) int64 ascending rows of the split's sessions, with or without an s⁺.
            predictions: (n, dim) of these.
        """
        if self._missing and not self._drawn:
            self._parts.append(self._draw(table, played, sessions))
        if self._block < len(self._parts):
            part = self._parts[self._block]
            chosen = predictions[np.searchsorted(sessions, part.targets)]
            # As in `scores.score_sessions`: a model may compute in less than float32.
            self._score(part, normalize(chosen.astype(np.float64)).astype(np.float32))
        self._block += 1

    def finish(self) -> SampleScores:
        """The scores of the pass that ends here; the next `add` begins another."""
        scores = SampleScores(
            means={
                name: float(np.mean(np.concatenate(values)))
                for name, values in self._scores.items()
                if sum(map(len, values))
            },
            confusion=self._confusion,
        )
        self._drawn, self._block = True, 0
        self._scores, self._confusion = {}, {}
        return scores

    def _draw(self, table: SessionTable, played: np.ndarray, sessions: np.ndarray) -> _Part:
        has_played = np.asarray(played.any(axis=1))
        targets = self._random.permutation(sessions[has_played[sessions]])[: self._missing]
        targets.sort()
        self._missing -= len(targets)
        ranked = session_candidates(table, has_played, targets, size=max(metrics.SESSION_SIZES))
        # The vectors of `NO_SESSION` are not looked at.
        tracks = track_candidates(
            table, self._track_embeddings, targets, size=max(metrics.TRACK_SIZES)
        )
        return _Part(targets, ranked, played[ranked.rows], tracks)

    def _score(self, part: _Part, predictions: np.ndarray) -> None:
        for start in range(0, len(predictions), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            to_sessions = metrics.cosines(predictions[rows], part.vectors[rows])
            for k in metrics.SESSION_SIZES:
                scored = part.sessions.scored(k)[rows]
                ranks = metrics.ranks(to_sessions[scored, :k])
                self._scores.setdefault(metrics.session_rr(k), []).append(1.0 / ranks)
            vectors = self._track_embeddings[part.tracks.tracks[rows]]
            to_tracks = metrics.cosines(predictions[rows], vectors)
            for k in metrics.TRACK_SIZES:
                scored = part.tracks.scored(k)[rows]
                relevant = part.tracks.relevant[rows][scored, :k]
                ranked = metrics.rank_relevance(to_tracks[scored, :k], relevant)
                precision = metrics.average_precision(ranked)
                self._scores.setdefault(metrics.ap(k), []).append(precision)
                self._confusion[k] = self._confusion.get(k, 0) + metrics.confusion(ranked)
