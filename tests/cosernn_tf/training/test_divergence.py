"""When a cosine says that training has failed, and when it does not."""

import dataclasses

import pytest

from cosernn_tf.training.divergence import LONG, diverged, not_finite
from cosernn_tf.training.progress import EpochResult, Sums
from cosernn_tf.training.step import StepResult


def epoch(number, cosine):
    return EpochResult(
        epoch=number,
        # Any: a loss may have more terms than the cosine.
        train_loss=5.0,
        train_cosine=cosine,
        train_attention=None,
        validation_cosine=0.5,
        validation_score=0.5,
        validation_attention=None,
        sessions_per_second=1.0,
        seconds=1.0,
    )


HISTORY = (epoch(1, 0.2), epoch(2, 0.4), epoch(3, 0.3))
"""The best had learnt 0.4; half of that lost leaves 0.2."""


def sums(cosine, *, batches=7):
    return Sums(batches=batches, loss=5.0, cosine=cosine * 50, pairs=50)


def test_an_epoch_that_lost_more_than_half_has_diverged():
    assert diverged(sums(0.21), HISTORY, is_whole=True) is None
    assert diverged(sums(0.19), HISTORY, is_whole=True) == (
        "the training cosine is 0.1900 on average over 7 batches, far below the 0.4000 of epoch 2"
    )


def test_part_of_an_epoch_counts_once_it_is_long():
    assert diverged(sums(-0.9, batches=LONG - 1), HISTORY, is_whole=False) is None
    assert diverged(sums(0.21, batches=LONG), HISTORY, is_whole=False) is None
    assert diverged(sums(0.19, batches=LONG), HISTORY, is_whole=False) is not None


def test_where_nothing_was_learnt_nothing_is_lost():
    assert diverged(sums(-0.9), (), is_whole=True) is None
    assert diverged(sums(-0.1), (epoch(1, 0.05),), is_whole=True) is None
    assert diverged(sums(-0.1), (epoch(1, -0.05),), is_whole=True) is None
    assert diverged(Sums(batches=LONG), HISTORY, is_whole=False) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_said(number):
    step = StepResult(loss=25.0, cosine=25.0, attention=0.0, pairs=50)
    assert not_finite(step) is None
    assert not_finite(dataclasses.replace(step, loss=number)) == f"the loss is {number}"
    norms = [1.0, 2.0]
    assert not_finite(dataclasses.replace(step, gradient_norms=norms)) is None
    norms = [1.0, number]
    assert not_finite(dataclasses.replace(step, gradient_norms=norms)) == (
        "the loss is 0.5000, but its gradient is not finite"
    )
