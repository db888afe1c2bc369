"""What limits the answer."""

from collections.abc import Mapping, Sequence
from typing import Final

from cosernn_tf.evaluation.config import EvaluatedSplit
from experiments.reporting.costs import Cost
from experiments.reporting.formats import counted, listed
from experiments.reporting.models import LEVEL, Comparison, Model
from experiments.reporting.verdict import Verdict
from experiments.reporting.words import metric_title, quoted

_BUSY: Final = 1.5
"""Load a core that training alone does not reach."""

_NAMED: Final = 6
"""Runs that are named where many are left out."""

_FEW_USERS: Final = 1_000
"""Fewer stand for themselves rather than for all of a service."""


def cautions(
    verdict: Verdict,
    costs: Mapping[str, Cost],
    *,
    is_synthetic: bool = False,
    split: str = EvaluatedSplit.TEST,
    not_told: Sequence[str] = (),
    not_evaluated: Sequence[str] = (),
    seeds_in_tables: Mapping[str, int] | None = None,
) -> list[str]:
    """Sentences, each of which follows from the numbers.

    Args:
        verdict: The answer that is limited.
        costs: By model.
        is_synthetic: Whether the log is the generator's.
        split: Whose sessions are scored.
        not_told: What the log lacks, as sentences.
        not_evaluated: Finished runs that are not in the evaluation.
        seeds_in_tables: By model, of how many seeds the tables below are.
    """
    comparison = verdict.comparison
    found = []
    if is_synthetic:
        found.append(
            "The log is synthetic: do not choose a model for your own users by it, and do not hold "
            "its results against the paper's. They compare models with each other on this log."
        )
    if split != EvaluatedSplit.TEST and comparison.trained:
        found.append(
            f"These are sessions of the {split} split, by which the epoch of every run was chosen, "
            "and perhaps flags: for others, as those of the test split, trained models are worse."
        )
    found += not_told
    if comparison.users < _FEW_USERS:
        is_or_are = "is" if comparison.users == 1 else "are"
        found.append(f"Only {counted(comparison.users, 'user')} {is_or_are} scored.")
    found += _seeds(comparison, seeds_in_tables or {})
    if comparison.trained and comparison.resamples is None:
        found.append(
            "The evaluation has no bootstrap: p-values are of a t-test that takes sessions for "
            "independent, which those of a user are not, and are too small."
        )
    least = comparison.least_p(verdict.model.name)
    if least is not None and least >= LEVEL:
        found.append(
            f"The bootstrap's {comparison.resamples:,} resamples are too few for "
            f"{comparison.count_tests(verdict.model.name)} tests: after the correction none of "
            "them can be below 0.05, however large a difference is. Evaluate with a larger "
            "--bootstrap_resamples."
        )
    few = [
        f"{metric_title(metric)} ({comparison.scored[metric.name] / comparison.sessions:.0%})"
        for metric in comparison.metrics
        if comparison.scored[metric.name] < comparison.sessions / 2
    ]
    if few:
        found.append(f"Less than half of the sessions are scored by {listed(few)}.")
    loads = [cost.load for cost in costs.values() if cost.load is not None]
    if loads and max(loads) > _BUSY:
        found.append(
            "Other programs ran while models were trained (up to "
            f"{max(loads):.1f} processes for each core): alone, training is faster."
        )
    if not_evaluated:
        found.append(
            f"Trained, but not in this evaluation: {listed(_first_few(not_evaluated))}. "
            "python -m cosernn_tf.evaluate takes all finished runs."
        )
    return found


def _seeds(comparison: Comparison, in_tables: Mapping[str, int]) -> list[str]:
    """Models of one seed, and those of which a table below has more."""
    found = []
    single = [quoted(model) for model in comparison.trained if len(model.runs) == 1]
    if single:
        found.append(
            f"Of {listed(single)} this evaluation has one seed: how much another differs, it does "
            "not tell."
        )
    more = [quoted(model) for model in comparison.trained if _has_more(model, in_tables)]
    if more:
        found.append(
            f"The paper's tables, redone below, have more seeds of {listed(more)} than this answer."
        )
    return found


def _has_more(model: Model, in_tables: Mapping[str, int]) -> bool:
    return in_tables.get(model.name, 0) > len(model.runs)


def _first_few(names: Sequence[str]) -> list[str]:
    more = len(names) - _NAMED
    return [*names] if more < 2 else [*names[:_NAMED], f"{more} more"]
