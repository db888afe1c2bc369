"""Trials that need no training: their scores are given by formula."""

from collections.abc import Mapping, Sequence

from experiments.tuning.advice import Advice, Strategy
from experiments.tuning.space import Space
from experiments.tuning.trials import State, Trial


def trial_of(number: int, scores: Sequence[float], **fields) -> Trial:
    given = {"flags": {"learning_rate": 0.1 / (number + 1)}, "state": State.FINISHED, **fields}
    rate = 100.0 if scores else None
    return Trial(
        number=number,
        scores=tuple(scores),
        seconds=2.0 * len(scores),
        sessions_per_second=rate,
        **given,
    )


def make_trials(
    space: Space, strategy: Strategy, count: int, *, scores_of, earlier: Sequence[Trial] = ()
) -> list[Trial]:
    """Goes on with a study until it has `count` trials; `scores_of` gives None for a failure."""
    trials = list(earlier)
    while len(trials) < count:
        advice = Advice(space, strategy, trials)
        if advice.flags is None:
            break
        trials.append(_trial(len(trials), advice, scores_of(advice.flags)))
    return trials


def _trial(number: int, advice: Advice, scores: Sequence[float] | None) -> Trial:
    assert advice.flags is not None
    flags: Mapping[str, int | float] = dict(advice.flags)
    if scores is None:
        return trial_of(number, [], flags=flags, state=State.FAILED, error="of no use")
    for epoch, score in enumerate(scores, start=1):
        if advice.should_prune(epoch, score):
            return trial_of(number, scores[:epoch], flags=flags, state=State.PRUNED)
    return trial_of(number, scores, flags=flags)
