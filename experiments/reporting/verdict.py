"""Which model to deploy: a rule that is stated.

A model is beaten by a metric if another one is measurably better: the corrected p-value of their
difference is below `models.LEVEL`. Recommended is the model that is beaten by the fewest metrics;
of equals a heuristic, which costs nothing, then that with the best mean of the most metrics, that
with the best mean place, and that which trained for the shortest time. Oracles are no candidates.
For a task, the same holds of its metrics alone, and what is recommended for all stays where it is
not beaten by more of them.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cosernn_tf.evaluation.metrics import COSINE, Metric, ap, session_rr
from cosernn_tf.evaluation.summary import Kind
from experiments.reporting.costs import Cost
from experiments.reporting.models import Comparison, Model

_HEADLINES: Final = (COSINE, session_rr(50), session_rr(20), ap(100), ap(25))
"""The most telling metrics of each task first."""

_UNKNOWN_MINUTES: Final = float("inf")


@dataclass(frozen=True)
class Standing:
    """How a model stands among those that can be deployed."""

    model: Model
    unbeaten: tuple[Metric, ...]
    """No other model is measurably better by these."""
    first: tuple[Metric, ...]
    """By these it has the best mean."""
    places: Mapping[Metric, float]
    """By means, from 1."""
    minutes: float
    """Of training."""

    def order(self, task: str | None = None) -> tuple[float, ...]:
        """Sorts by the rule: of all metrics, or of a task's."""
        unbeaten = self.count_unbeaten(task)
        return (
            -unbeaten,
            # Costing nothing is worth nothing to a model that is beaten by every metric.
            self.model.kind is not Kind.HEURISTIC and unbeaten > 0,
            -sum(task in (None, metric.task) for metric in self.first),
            statistics.fmean(p for m, p in self.places.items() if task in (None, m.task)),
            self.minutes,
        )

    def count_unbeaten(self, task: str | None = None) -> int:
        return sum(task in (None, metric.task) for metric in self.unbeaten)


@dataclass(frozen=True)
class Verdict:
    """All models that can be deployed, the recommended one first."""

    comparison: Comparison
    standings: tuple[Standing, ...]

    @property
    def chosen(self) -> Standing:
        return self.standings[0]

    @property
    def model(self) -> Model:
        return self.chosen.model

    @cached_property
    def tasks(self) -> dict[str, Standing]:
        """By task, the model that is recommended for it."""
        found = {}
        for task in dict.fromkeys(metric.task for metric in self.comparison.metrics):
            best = min(self.standings, key=lambda standing: standing.order(task))
            is_beaten = best.count_unbeaten(task) > self.chosen.count_unbeaten(task)
            found[task] = best if is_beaten else self.chosen
        return found

    @property
    def heuristic(self) -> Standing | None:
        """The best one that needs no training, if it is not the recommended model."""
        return self._next(Kind.HEURISTIC)

    @property
    def trained(self) -> Standing | None:
        """The best trained model beside the recommended one."""
        return self._next(Kind.RUN)

    def _next(self, kind: Kind) -> Standing | None:
        others = (s for s in self.standings[1:] if s.model.kind is kind)
        is_chosen = kind is Kind.HEURISTIC and self.model.kind is kind
        return None if is_chosen else next(others, None)


def decide(comparison: Comparison, costs: Mapping[str, Cost]) -> Verdict:
    """Orders the models by the rule."""
    standings = []
    for model in comparison.deployable:
        cost = costs.get(model.name)
        is_free = model.kind is Kind.HEURISTIC
        standings.append(
            Standing(
                model,
                tuple(m for m in comparison.metrics if not comparison.is_beaten(model.name, m)),
                tuple(m for m in comparison.metrics if model in comparison.best(m)),
                {m: comparison.place(model.name, m) for m in comparison.metrics},
                cost.minutes if cost else 0.0 if is_free else _UNKNOWN_MINUTES,
            )
        )
    return Verdict(comparison, tuple(sorted(standings, key=Standing.order)))


def headline_metrics(comparison: Comparison) -> list[Metric]:
    """One a task, the most telling that any session is scored by."""
    by_name = {metric.name: metric for metric in comparison.metrics}
    found: dict[str, Metric] = {}
    for name in _HEADLINES:
        if name in by_name:
            found.setdefault(by_name[name].task, by_name[name])
    return list(found.values())
