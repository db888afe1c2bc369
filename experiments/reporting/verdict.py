"""Which model to deploy: a rule that is stated.

A model is beaten by a metric if another one is measurably better: the corrected p-value of their
difference is below `models.LEVEL`. Recommended is the model that is beaten by the fewest metrics;
of equals a heuristic, which costs nothing, if there is no sign that it is worse: by the metrics by
which it is not beaten, its p-value against the best mean is not below the level even without the
correction. Then comes that with the best mean of the most metrics, that with the best mean place,
and that which trained for the shortest time. Oracles are no candidates. For a task, the same holds
of its metrics alone, and what is recommended for all stays where it is not beaten by more of them.
"""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from cosernn_tf.evaluation.metrics import COSINE, Metric, ap, session_rr
from cosernn_tf.evaluation.summary import Kind
from experiments.reporting.costs import Cost
from experiments.reporting.formats import listed
from experiments.reporting.models import Comparison, Model

_HEADLINES: Final = (COSINE, session_rr(50), session_rr(20), ap(100), ap(25))
"""The most telling metrics of each task first."""

_OF_NO_TASK: Final = "the prediction itself (cosine)"
_UNKNOWN_MINUTES: Final = float("inf")


@dataclass(frozen=True)
class Standing:
    """How a model stands among those that can be deployed."""

    model: Model
    unbeaten: tuple[Metric, ...]
    """No other model is measurably better by these."""
    near_best: frozenset[Metric]
    """By these there is no sign that it is not the best."""
    first: tuple[Metric, ...]
    """By these it has the best mean."""
    places: Mapping[Metric, float]
    """By means, from 1."""
    minutes: float
    """Of training."""

    def order(self, task: str | None = None) -> tuple[float, ...]:
        """Sorts by the rule: of all metrics, or of a task's."""
        return (
            -self.count_unbeaten(task),
            not self._is_free_and_as_good(task),
            -sum(task in (None, metric.task) for metric in self.first),
            statistics.fmean(p for m, p in self.places.items() if task in (None, m.task)),
            self.minutes,
        )

    def _is_free_and_as_good(self, task: str | None) -> bool:
        held = [metric for metric in self.unbeaten if task in (None, metric.task)]
        is_free = self.model.kind is Kind.HEURISTIC
        return is_free and bool(held) and self.near_best.issuperset(held)

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

    @cached_property
    def alternatives(self) -> list[tuple[Standing, str]]:
        """What one would take instead, and what it is: what the recommended model is compared with.

        Those that are recommended for a task, the best heuristic, and, of trained models, the best
        one.
        """
        tasks: dict[str, list[str]] = {}
        for task, standing in self.tasks.items():
            tasks.setdefault(standing.model.name, []).append(task_title(task))
        found = {
            standing.model.name: (
                standing,
                f"recommended for {listed(tasks[standing.model.name])}",
            )
            for standing in self.standings[1:]
            if standing.model.name in tasks
        }
        kinds = {self.model.kind, *(standing.model.kind for standing, _ in found.values())}
        if Kind.HEURISTIC not in kinds:
            self._add(found, Kind.HEURISTIC, "the best heuristic")
        if not any(standing.model.kind is Kind.RUN for standing, _ in found.values()):
            other = "other " if self.model.kind is Kind.RUN else ""
            self._add(found, Kind.RUN, f"the best {other}trained model")
        return sorted(found.values(), key=lambda pair: pair[0].model.kind is not Kind.HEURISTIC)

    def _add(self, found: dict[str, tuple[Standing, str]], kind: Kind, role: str) -> None:
        best = next((s for s in self.standings[1:] if s.model.kind is kind), None)
        if best is not None:
            found[best.model.name] = (best, role)


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
                frozenset(m for m in comparison.metrics if comparison.is_near_best(model.name, m)),
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


def task_title(task: str) -> str:
    """As in a sentence."""
    return task.lower() or _OF_NO_TASK
