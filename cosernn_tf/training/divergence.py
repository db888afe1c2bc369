"""When a cosine says that training has failed.

A prediction that knows nothing is at a right angle to its target on average: its cosine is 0. A run
has diverged if the cosine, on average over an epoch or over the `LONG` or more batches of it so
far, has gone back more than half the way from that of the best epoch to there. No healthy run does:
all epochs are of the same sessions, in batches drawn at random, so that such means differ little.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cosernn_tf.errors import UserError
from cosernn_tf.training.progress import EpochResult, Sums
from cosernn_tf.training.step import StepResult

LONG: Final = 1000
"""Batches."""

SHARE_LOST: Final = 0.5
"""Of what the best epoch had learnt, by its training cosine."""

LEARNT: Final = 0.1
"""Less than this is no cosine to go back from."""


class DivergenceError(UserError):
    """Training cannot go on from its weights."""


def not_finite(step: StepResult) -> str | None:
    """What of a step is no number: the loss, or a gradient, which then was not applied."""
    if not np.isfinite(step.loss):
        return f"the loss is {step.loss}"
    norms = step.gradient_norms
    if norms is not None and not np.isfinite(norms).all():
        return f"the loss is {step.loss / step.pairs:.4f}, but its gradient is not finite"
    return None


def diverged(sums: Sums, history: Sequence[EpochResult], *, is_whole: bool) -> str | None:
    """What of an epoch is far below the best one's, by the rule of this module.

    Args:
        sums: Of the epoch.
        history: Epochs before it.
        is_whole: Whether all of its batches are in `sums`.
    """
    if not (is_whole or sums.batches >= LONG) or not history or not sums.pairs:
        return None
    best = max(history, key=lambda epoch: epoch.train_cosine)
    cosine = sums.cosine / sums.pairs
    if best.train_cosine < LEARNT or cosine >= (1 - SHARE_LOST) * best.train_cosine:
        return None
    return (
        f"the training cosine is {cosine:.4f} on average over {sums.batches:,} batches, far below "
        f"the {best.train_cosine:.4f} of epoch {best.epoch}"
    )
