"""What is tried next and what is given up, on scores that are given by formula."""

import math

import numpy as np
import pytest

from cosernn_tf.errors import UserError
from experiments.tuning.advice import REDUCTION, Advice, Strategy
from experiments.tuning.space import PAPER, PRUNERS, SAMPLERS, parse_space
from experiments.tuning.trials import State

from .trials import make_trials, trial_of

BEST_RATE, BEST_UNITS = 10**-3.3, 300
RANGES = ("learning_rate=1e-6..1", "lstm_units=10..400")


def distance(flags) -> float:
    """In orders of magnitude, from where the score is highest."""
    return abs(math.log10(flags["learning_rate"] / BEST_RATE)) + abs(
        math.log10(flags["lstm_units"] / BEST_UNITS)
    )


def scores_of(flags) -> list[float] | None:
    """Of seven epochs; the highest rates fail."""
    if flags["learning_rate"] > 0.1:
        return None
    return [0.5 - 0.1 * distance(flags) - 0.3 / epoch for epoch in range(1, 8)]


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize(
    ("sampler", "searches"),
    [(sampler, PAPER) for sampler in SAMPLERS] + [("random", RANGES), ("tpe", RANGES)],
)
def test_a_study_goes_on_as_if_it_had_not_stopped(searches, sampler, pruner):
    space = parse_space(searches)
    strategy = Strategy(sampler, pruner, prune_after_epochs=2)
    whole = make_trials(space, strategy, 14, scores_of=scores_of)
    assert len(whole) == 14
    for done in (1, 12):
        went_on = make_trials(space, strategy, 14, scores_of=scores_of, earlier=whole[:done])
        assert went_on == whole
    # It is the pruner that prunes, and the seed that chooses.
    assert any(trial.state is State.PRUNED for trial in whole) == (pruner != "none")
    other = make_trials(space, Strategy(sampler, seed=2), 14, scores_of=scores_of)
    assert [trial.flags for trial in other] != [trial.flags for trial in whole]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_combination_is_tried_once_and_then_it_ends(sampler):
    space = parse_space(["batch_size=2,4", "lstm_units=100,200,400", "learning_rate=0.001,0.01"])
    trials = make_trials(space, Strategy(sampler), 99, scores_of=scores_of)
    tried = [tuple(trial.flags.values()) for trial in trials]
    assert len(tried) == len(set(tried)) == space.size == 12
    assert all(tuple(trial.flags) == space.flags for trial in trials)


def test_a_range_of_whole_numbers_ends_too():
    trials = make_trials(
        parse_space(["batch_size=2..4"]), Strategy("random"), 99, scores_of=lambda _: [0.5]
    )
    assert sorted(trial.flags["batch_size"] for trial in trials) == [2, 3, 4]


def test_random_trials_spread_over_orders_of_magnitude():
    space = parse_space(["learning_rate=1e-6..1"])
    trials = make_trials(space, Strategy("random"), 60, scores_of=lambda _: [0.5])
    exponents = np.log10([trial.flags["learning_rate"] for trial in trials])
    assert exponents.min() >= -6
    assert exponents.max() <= 0
    # A sixth of 60 in each; 3 and 20 are over 2.4 deviations from that.
    counts = np.histogram(exponents, bins=np.arange(-6, 1))[0]
    assert 3 <= counts.min() <= counts.max() <= 20


def test_values_of_a_range_are_in_it_and_short():
    space = parse_space(["learning_rate=0.00123456..0.00123476", "clip_norm=1..9.87654"])
    trials = make_trials(space, Strategy("tpe"), 15, scores_of=lambda flags: [flags["clip_norm"]])
    for trial in trials:
        assert 0.00123456 <= trial.flags["learning_rate"] <= 0.00123476
        assert 1 <= trial.flags["clip_norm"] <= 9.87654
        assert len(str(trial.flags["clip_norm"])) <= len("9.876")


def test_tpe_learns():
    """After ten trials at random; and it keeps away from where they fail."""
    space = parse_space(RANGES)
    studies = [
        make_trials(space, Strategy("tpe", seed=seed), 40, scores_of=scores_of)
        for seed in (1, 2, 3)
    ]
    distances = np.array([[distance(trial.flags) for trial in trials] for trials in studies])
    assert np.median(distances[:, -15:]) < 0.75 * np.median(distances[:, :10])
    failed = np.array([[trial.state is State.FAILED for trial in trials] for trials in studies])
    assert failed[:, 10:].mean() < 0.5 * failed[:, :10].mean()


# Pruning -----------------------------------------------------------------------------------------


def pruned_after(strategy, earlier, scores) -> int | None:
    advice = Advice(parse_space(["learning_rate=1e-6..1"]), strategy, earlier)
    for epoch, score in enumerate(scores, start=1):
        if advice.should_prune(epoch, score):
            return epoch
    return None


MEDIAN = Strategy("random", "median", prune_after_epochs=2, prune_after_trials=3)
EARLIER = [
    trial_of(0, [0.1, 0.2, 0.3, 0.4]),
    trial_of(1, [0.1, 0.3, 0.4, 0.5]),
    trial_of(2, [0.1, 0.4, 0.5, 0.6]),
]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.29, 0.6, 0.6], 2),
        ([0.0, 0.31, 0.39, 0.6], 3),
        ([0.0, 0.31, 0.41, 0.51], None),
        # What counts is its best epoch.
        ([0.0, 0.45, 0.0, 0.0], 4),
    ],
)
def test_the_median_pruner(scores, expected):
    assert pruned_after(MEDIAN, EARLIER, scores) == expected


def test_the_median_is_of_enough_trials_that_finished():
    unfinished = trial_of(2, EARLIER[2].scores, state=State.PRUNED)
    failed = trial_of(3, EARLIER[2].scores, state=State.FAILED)
    low = [0.0, 0.0, 0.0, 0.0]
    assert pruned_after(MEDIAN, [*EARLIER[:2], unfinished, failed], low) is None
    assert pruned_after(MEDIAN, EARLIER, low) == 2


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.39], 2),
        # The best of four at epoch 2, then at epoch 6, where nobody has been.
        ([0.0, 0.41, 0.0, 0.0, 0.0, 0.0, 0.0], None),
    ],
)
def test_asha(scores, expected):
    asha = Strategy("random", "asha", prune_after_epochs=2)
    earlier = [
        trial_of(number, [0.1, score], state=State.PRUNED)
        for number, score in enumerate([0.2, 0.3, 0.4])
    ]
    assert REDUCTION == 3
    assert pruned_after(asha, earlier, scores) == expected


def test_a_strategy_that_cannot_be():
    with pytest.raises(UserError, match="--prune_after_epochs=0 must be at least 1"):
        Strategy(prune_after_epochs=0)
    with pytest.raises(UserError, match="--prune_after_trials=0 must be at least 1"):
        Strategy(prune_after_trials=0)
