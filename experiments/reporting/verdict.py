"""Which model to deploy: a rule that is stated.

A model loses a metric if another one is measurably better by it: the corrected p-value of their
difference is below `models.LEVEL`. Recommended is the model that loses the fewest metrics; of
equals a heuristic, which costs nothing, if there is no sign that it is worse: by the metrics that
it does not lose, its p-value against the best mean is not below the level even without the
correction. Then comes that with the best mean of the most metrics, that with the best mean place,
and that which trained for the shortest time. Oracles are no candidates. For a task, the same holds
of its metrics alone, and what is recommended for all stays where it does not lose more of them.
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

_OF_NO_TASK: Final = "the prediction itself (cosine)"
_UNKNOWN_MINUTES: Final = float("inf")

_DECIDED: Final = (
    "what costs nothing, and shows no sign of being worse, goes first",
    "it has the best mean of more metrics",
    "its place by the means is better on average",
    "it trained for a shorter time",
)
"""What a tie in the number of lost metrics is decided by, in the order of the rule."""


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
class Rivals:
    """The best of a kind, metric by metric: what the recommended model is held against."""

    title: str
    by_metric: Mapping[Metric, Model]


@dataclass(frozen=True)
class Tie:
    """Other models that lose as few metrics as the recommended one."""

    others: tuple[Model, ...]
    decided_by: str
    """Why it comes before the next of them."""


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
    def tie(self) -> Tie | None:
        """None if all others lose more metrics."""
        others = [
            standing
            for standing in self.standings[1:]
            if standing.count_unbeaten() == self.chosen.count_unbeaten()
        ]
        if not others:
            return None
        own, following = self.chosen.order()[1:], others[0].order()[1:]
        decided = [why for why, a, b in zip(_DECIDED, own, following, strict=True) if a != b]
        why = decided[0] if decided else "it comes first in Table 2"
        return Tie(tuple(standing.model for standing in others), why)

    def not_told_apart(self, task: str) -> list[Model]:
        """Those that no metric of a task tells from the model that is recommended for it."""
        name = self.tasks[task].model.name
        found = []
        for standing in self.standings:
            differences = [
                self.comparison.difference(name, standing.model.name, metric)
                for metric in self.comparison.metrics
                if metric.task == task
            ]
            tests = [difference for difference in differences if difference is not None]
            if tests and not any(test.is_measurable for test in tests):
                found.append(standing.model)
        return found

    @cached_property
    def rivals(self) -> tuple[Rivals, ...]:
        """The best heuristic, unless one is recommended, and the best trained model, if any."""
        is_trained = self.model.kind is Kind.RUN
        kinds = {Kind.HEURISTIC: "the best heuristic"} if is_trained else {}
        kinds[Kind.RUN] = "the best other trained model" if is_trained else "the best trained model"
        found = []
        for kind, title in kinds.items():
            best = {m: self._best_other(kind, m) for m in self.comparison.metrics}
            known = {metric: model for metric, model in best.items() if model is not None}
            if known:
                found.append(Rivals(title, known))
        return tuple(found)

    def _best_other(self, kind: Kind, metric: Metric) -> Model | None:
        """By its mean, whatever its place in the verdict; of equals that which stands first."""
        sign = 1.0 if metric.higher_is_better else -1.0
        known = [
            (sign * mean, standing.model)
            for standing in self.standings[1:]
            if standing.model.kind is kind
            and (mean := standing.model.means[metric.name]) is not None
        ]
        return max(known, key=lambda pair: pair[0])[1] if known else None

    @cached_property
    def alternatives(self) -> tuple[Model, ...]:
        """What one would take instead, heuristics first.

        Those that are recommended for a task, and the rivals by the most telling metrics.
        """
        found = {s.model.name: s.model for s in self.tasks.values() if s is not self.chosen}
        for rivals in self.rivals:
            for metric in headline_metrics(self.comparison):
                if metric in rivals.by_metric:
                    model = rivals.by_metric[metric]
                    found.setdefault(model.name, model)
        return tuple(sorted(found.values(), key=lambda model: model.kind is not Kind.HEURISTIC))


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
