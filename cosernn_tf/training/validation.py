"""One pass over the validation split."""

from dataclasses import dataclass

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.prediction import Predictor
from cosernn_tf.training.feed import Feed


@dataclass(frozen=True)
class Validation:
    """Of one pass over the validation split."""

    cosine: float
    attention: float | None
    """Mean β̂; None of a model that has no attention."""
    sessions: int


def validate(predictor: Predictor, feed: Feed, *, max_sessions: int) -> Validation:
    """Mean cosine of prediction and s⁺ over the validation sessions that have an s⁺."""
    cosine, count = 0.0, 0
    attention: float | None = None
    for block in feed.blocks():
        windows = feed.validation_windows(block, max_sessions=max_sessions)
        predictions = predictor(block.data, windows)
        scored = block.data.is_target[predictions.sessions]
        target = block.data.target[predictions.sessions]
        cosine += float(np.sum((predictions.embeddings * target)[scored], dtype=np.float64))
        if predictions.attention is not None:
            on_offset = predictions.attention[scored, 0].sum(dtype=np.float64)
            attention = (attention or 0.0) + float(on_offset)
        count += int(scored.sum())
    if count == 0:
        raise UserError(
            "the validation split has no session with a played, embedded track: sessionise a "
            "longer log, or with more --validation_days"
        )
    return Validation(cosine / count, None if attention is None else attention / count, count)
