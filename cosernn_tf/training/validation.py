"""One pass over the validation split."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.ranking_sample import RankingSample, SampleScores
from cosernn_tf.prediction import Predictor
from cosernn_tf.training.feed import Feed

ATTENTION_EDGES: Final = np.linspace(0.0, 1.0, 31)
"""Bins of the histogram of β̂."""


@dataclass(frozen=True)
class Validation:
    """Of one pass over the validation split."""

    cosine: float
    attention: float | None
    """Mean β̂; None of a model that has no attention."""
    attention_counts: np.ndarray | None
    """(30,) int64: sessions by β̂, between `ATTENTION_EDGES`."""
    sessions: int
    ranking: SampleScores | None

    def score(self, best_by: str) -> float:
        """By which epochs are compared: higher is better.

        The cosine, or with "ranking" the geometric mean of what is ranked: MRR and mAP, at each K.
        They differ in size, and none is to outweigh another. Where no history is long enough for
        any of them, it is the cosine after all.
        """
        means = list(self.ranking.means.values()) if self.ranking else []
        if best_by == "cosine" or not means:
            return self.cosine
        return float(np.prod(means) ** (1 / len(means)))


def validate(
    predictor: Predictor, feed: Feed, *, max_sessions: int, ranking: RankingSample | None = None
) -> Validation:
    """Mean cosine of prediction and s⁺ over the validation sessions that have an s⁺.

    Args:
        predictor: Of the model.
        feed: Whose validation split is predicted.
        max_sessions: Longest window.
        ranking: Ranks for some of these sessions, the same ones whenever it is given.
    """
    cosine, count = 0.0, 0
    attention, counts = 0.0, np.zeros(len(ATTENTION_EDGES) - 1, np.int64)
    has_attention = False
    for block in feed.blocks():
        windows = feed.validation_windows(block, max_sessions=max_sessions)
        predictions = predictor(block.data, windows)
        scored = block.data.is_target[predictions.sessions]
        target = block.data.target[predictions.sessions]
        cosine += float(np.sum((predictions.embeddings * target)[scored], dtype=np.float64))
        if predictions.attention is not None:
            has_attention = True
            on_offset = predictions.attention[scored, 0]
            attention += float(on_offset.sum(dtype=np.float64))
            counts += np.histogram(on_offset, ATTENTION_EDGES)[0]
        count += int(scored.sum())
        if ranking is not None:
            ranking.add(
                block.table,
                block.data.target,
                sessions=predictions.sessions,
                predictions=predictions.embeddings,
            )
    if count == 0:
        raise UserError(
            "the validation split has no session with a played, embedded track: sessionise a "
            "longer log, or with more --validation_days"
        )
    return Validation(
        cosine=cosine / count,
        attention=attention / count if has_attention else None,
        attention_counts=counts if has_attention else None,
        sessions=count,
        ranking=None if ranking is None else ranking.finish(),
    )
