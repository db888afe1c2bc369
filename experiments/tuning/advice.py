"""What to try next, and what to give up: Optuna's samplers and pruners.

Of KerasTuner and Optuna, Optuna: it can be asked and told, so that a trial stays the run that
`cosernn_tf.train` makes of its flags, and it prunes by any figure of an epoch, while KerasTuner is
built around a `fit` of its own and stops trials early in Hyperband only.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from cosernn_tf.config import require
from experiments.tuning.space import Dimension, Space
from experiments.tuning.trials import State, Trial

REDUCTION: Final = 3
"""ASHA: of the trials that come to a rung this part goes on, and rungs are so many times apart."""

_ATTEMPTS: Final = 20
_DIGITS: Final = 4


@dataclass(frozen=True)
class Strategy:
    """How trials are chosen and given up."""

    sampler: str = "grid"
    pruner: str = "none"
    prune_after_epochs: int = 5
    """No trial is pruned before; of ASHA the first rung."""
    prune_after_trials: int = 4
    """No trial is pruned before so many have finished; ASHA does not wait."""
    seed: int = 1

    def __post_init__(self) -> None:
        for flag in ("prune_after_epochs", "prune_after_trials"):
            value = getattr(self, flag)
            require(value >= 1, f"--{flag}={value} must be at least 1")


class Advice:
    """On one trial, from those before it.

    It is a function of these alone: asked again after an interruption, it is the same, also of a
    sampler that learns (TPE).
    """

    def __init__(self, space: Space, strategy: Strategy, earlier: Sequence[Trial]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = space
        self._strategy = strategy
        self._distributions = {d.flag: _distribution(d) for d in space.dimensions}
        # A sampler is asked for the new trial only: replayed ones have their flags.
        self._study = optuna.create_study(
            direction="maximize", pruner=_pruner(strategy), sampler=optuna.samplers.RandomSampler()
        )
        for trial in earlier:
            self._replay(trial)
        self._trial = self._ask(earlier)

    @property
    def flags(self) -> Mapping[str, int | float] | None:
        """What to try; None if all there is was tried."""
        return None if self._trial is None else self._flags(self._trial)

    def should_prune(self, epoch: int, score: float) -> bool:
        """Whether to give the trial up, with its score after one epoch more, each told once."""
        assert self._trial is not None
        return _reported(self._trial, epoch, score)

    def _replay(self, past: Trial) -> None:
        """Tells the study of a trial, epoch by epoch: ASHA remembers who came to which rung."""
        trial = self._ask_for(past.flags)
        if past.state is State.FINISHED:
            self._report(trial, past)
            self._study.tell(trial, past.score)
            return
        # Of a trial that failed it is not told how far it came: pruned before its first epoch, it
        # counts as worse than all others (as failed, it would not count, and TPE try the like).
        if past.state is State.PRUNED:
            self._report(trial, past)
        self._study.tell(trial, state=TrialState.PRUNED)

    def _report(self, trial: optuna.Trial, past: Trial) -> None:
        for epoch, score in enumerate(past.scores, start=1):
            _reported(trial, epoch, score)

    def _ask(self, earlier: Sequence[Trial]) -> optuna.Trial | None:
        """Asks for a trial that was not made yet: it would give the same again."""
        tried = [dict(trial.flags) for trial in earlier]
        if self._space.size is not None and len(tried) >= self._space.size:
            return None
        for attempt in range(_ATTEMPTS):
            self._study.sampler = self._sampler(len(tried), attempt)
            trial = self._study.ask(self._distributions)
            if self._flags(trial) not in tried:
                return trial
            self._study.tell(trial, state=TrialState.FAIL)
        if self._space.size is None:
            return None
        left = [flags for flags in self._combinations() if flags not in tried]
        return self._ask_for(left[_seed(self._strategy, len(tried)) % len(left)])

    def _flags(self, trial: optuna.Trial) -> dict[str, int | float]:
        """What a trial was given, of a range without digits that nobody would type."""
        return {
            dimension.flag: _rounded(trial.params[dimension.flag], dimension)
            for dimension in self._space.dimensions
        }

    def _ask_for(self, flags: Mapping[str, int | float]) -> optuna.Trial:
        self._study.enqueue_trial(dict(flags))
        return self._study.ask(self._distributions)

    def _combinations(self) -> list[dict[str, int | float]]:
        values = (dimension.values for dimension in self._space.dimensions)
        return [
            dict(zip(self._space.flags, chosen, strict=True))
            for chosen in itertools.product(*values)
        ]

    def _sampler(self, number: int, attempt: int) -> optuna.samplers.BaseSampler:
        seed = _seed(self._strategy, number, attempt)
        match self._strategy.sampler:
            case "random":
                return optuna.samplers.RandomSampler(seed=seed)
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed)
        values = {dimension.flag: dimension.values for dimension in self._space.dimensions}
        # Of all trials alike: it is the order in which they take from the grid.
        return optuna.samplers.GridSampler(values, seed=self._strategy.seed)


def _reported(trial: optuna.Trial, epoch: int, score: float) -> bool:
    trial.report(score, epoch)
    return trial.should_prune()


def _rounded(value: int | float, dimension: Dimension) -> int | float:
    if not dimension.is_range or dimension.is_whole:
        return value
    low, high = dimension.values
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def _seed(strategy: Strategy, *numbers: int) -> int:
    return int(np.random.SeedSequence((strategy.seed, *numbers)).generate_state(1)[0])


def _distribution(dimension: Dimension) -> BaseDistribution:
    if not dimension.is_range:
        return CategoricalDistribution(dimension.values)
    low, high = dimension.values
    if dimension.is_whole:
        return IntDistribution(int(low), int(high), log=True)
    return FloatDistribution(low, high, log=True)


def _pruner(strategy: Strategy) -> optuna.pruners.BasePruner:
    match strategy.pruner:
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=strategy.prune_after_trials,
                n_warmup_steps=strategy.prune_after_epochs,
            )
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=strategy.prune_after_epochs, reduction_factor=REDUCTION
            )
    return optuna.pruners.NopPruner()
