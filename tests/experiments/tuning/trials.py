"""Trials that need no training: their cosines are given by formula."""

from collections.abc import Mapping, Sequence

from experiments.tuning.advice import Advice, Strategy
from experiments.tuning.space import Space
from experiments.tuning.trials import State, Trial


def trial_of(number: int, cosines: Sequence[float], **fields) -> Trial:
    given = {"flags": {"learning_rate": 0.1 / (number + 1)}, "state": State.FINISHED, **fields}
    rate = 100.0 if cosines else None
    return Trial(
        number=number,
        cosines=tuple(cosines),
        seconds=2.0 * len(cosines),
        sessions_per_second=rate,
        **given,
    )


def make_trials(
    space: Space, strategy: Strategy, count: int, *, cosines_of, earlier: Sequence[Trial] = ()
) -> list[Trial]:
    """Goes on with a study until it has `count` trials; `cosines_of` gives None for a failure."""
    trials = list(earlier)
    while len(trials) < count:
        advice = Advice(space, strategy, trials)
        if advice.flags is None:
            break
        trials.append(_trial(len(trials), advice, cosines_of(advice.flags)))
    return trials


def _trial(number: int, advice: Advice, cosines: Sequence[float] | None) -> Trial:
    assert advice.flags is not None
    flags: Mapping[str, int | float] = dict(advice.flags)
    if cosines is None:
        return trial_of(number, [], flags=flags, state=State.FAILED, error="of no use")
    for epoch, cosine in enumerate(cosines, start=1):
        if advice.should_prune(epoch, cosine):
            return trial_of(number, cosines[:epoch], flags=flags, state=State.PRUNED)
    return trial_of(number, cosines, flags=flags)
