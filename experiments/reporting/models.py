"""The models of an evaluation, and what differs between them; seeds of one model are one."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from cosernn_tf.evaluation.metrics import METRICS, Metric
from cosernn_tf.evaluation.summary import Kind
from experiments.tables import REFERENCE, TABLES

LEVEL: Final = 0.05
"""A difference with a p-value below is measurable."""

_SEED: Final = re.compile(r"(?P<model>.+)-seed(?P<seed>\d+)")
"""A run of `experiments.table`."""


@dataclass(frozen=True)
class Model:
    """A row of Table 2."""

    name: str
    title: str
    kind: Kind
    runs: tuple[str, ...]
    """One a seed; of a heuristic or an oracle none."""
    means: Mapping[str, float | None]
    """By metric, over sessions and seeds."""
    deviations: Mapping[str, float | None]
    """Standard deviations over seeds; None of fewer than two."""
    intervals: Mapping[str, tuple[float, float] | None]


@dataclass(frozen=True)
class Difference:
    """What the first of two models has more than the second, of a metric."""

    first: str
    second: str
    metric: Metric
    sessions: int
    users: int
    mean: float
    means: tuple[float, float]
    """Of the first and of the second."""
    low: float | None
    high: float | None
    cohens_d: float | None
    t_p: float | None
    t_holm: float | None
    clustered_p: float | None
    """None: not computed; then the t-test decides."""
    clustered_holm: float | None
    design_effect: float | None
    has_clusters: bool

    @property
    def p(self) -> float | None:
        """By which it is judged: with users as clusters where that was computed, after Holm."""
        return self.clustered_holm if self.has_clusters else self.t_holm

    @property
    def p_alone(self) -> float | None:
        """The same as if no other test were made."""
        return self.clustered_p if self.has_clusters else self.t_p

    @property
    def is_measurable(self) -> bool:
        return self.p is not None and self.p < LEVEL

    @property
    def gain(self) -> float:
        """The mean, so that more is better."""
        return self.mean if self.metric.higher_is_better else -self.mean

    @property
    def relative(self) -> float | None:
        """As a share of the second's mean, whose sign is left aside; None if that is zero."""
        return self.mean / abs(self.means[1]) if self.means[1] else None

    @property
    def reversed(self) -> "Difference":
        """What the second has more than the first."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            mean=-self.mean,
            means=(self.means[1], self.means[0]),
            low=None if self.high is None else -self.high,
            high=None if self.low is None else -self.low,
            cohens_d=None if self.cohens_d is None else -self.cohens_d,
        )


@dataclass(frozen=True)
class Comparison:
    """All models of an evaluation, in the order of Table 2."""

    models: tuple[Model, ...]
    tested: Mapping[tuple[str, str, str], Difference]
    """By first and second model, and metric. Holm's correction is over all tests of the first; of a
    pair that was tested from both sides the larger p-value holds, so that both sides say the same.
    """
    scored: Mapping[str, int]
    """Sessions by metric."""
    sessions: int
    users: int
    resamples: int | None
    """Of the bootstrap; None without."""

    @cached_property
    def by_name(self) -> dict[str, Model]:
        return {model.name: model for model in self.models}

    @cached_property
    def deployable(self) -> tuple[Model, ...]:
        """All but the oracles."""
        return tuple(model for model in self.models if model.kind is not Kind.ORACLE)

    @cached_property
    def trained(self) -> tuple[Model, ...]:
        return tuple(model for model in self.models if model.kind is Kind.RUN)

    @cached_property
    def is_tested(self) -> bool:
        """Whether there is a p-value: with users as clusters not where there are few of them."""
        return any(difference.p is not None for difference in self.tested.values())

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """Those that any session is scored by."""
        return tuple(metric for metric in METRICS if self.scored[metric.name])

    def difference(self, first: str, second: str, metric: Metric) -> Difference | None:
        """None where the two were not tested."""
        found = self.tested.get((first, second, metric.name))
        if found is None:
            other = self.tested.get((second, first, metric.name))
            found = other.reversed if other is not None else None
        return found

    def count_tests(self, first: str) -> int:
        """Of a model against all others, oracles too: those that its correction is for."""
        return sum(
            name == first and difference.p is not None
            for (name, _, _), difference in self.tested.items()
        )

    def least_p(self, first: str) -> float | None:
        """The smallest that the resamples and the correction allow a model; None without them."""
        if self.resamples is None:
            return None
        return min(1.0, self.count_tests(first) / (self.resamples + 1))

    def best(self, metric: Metric) -> tuple[Model, ...]:
        """The first of the deployable ones; ties are all first."""
        sign = 1.0 if metric.higher_is_better else -1.0
        known = [
            (sign * mean, model)
            for model in self.deployable
            if (mean := model.means[metric.name]) is not None
        ]
        top = max((value for value, _ in known), default=0.0)
        return tuple(model for value, model in known if value == top)

    def place(self, name: str, metric: Metric) -> float:
        """From 1, the best mean; those with an equal mean share theirs."""
        sign = 1.0 if metric.higher_is_better else -1.0
        means = {m.name: m.means[metric.name] for m in self.deployable}
        own = means[name]
        assert own is not None
        others = [sign * (mean - own) for mean in means.values() if mean is not None]
        return 1 + sum(d > 0 for d in others) + (sum(d == 0 for d in others) - 1) / 2

    def is_near_best(self, name: str, metric: Metric) -> bool:
        """Whether there is no sign, not even without correction, that it is not the best."""
        for best in self.best(metric):
            difference = self.difference(name, best.name, metric)
            p = None if difference is None else difference.p_alone
            if p is not None and p < LEVEL:
                return False
        return True

    def betters(self, name: str, metric: Metric) -> tuple[Model, ...]:
        """Deployable models that are measurably better, the best mean first."""
        found = []
        for other in self.deployable:
            if other.name != name:
                difference = self.difference(other.name, name, metric)
                if difference is not None and difference.is_measurable and difference.gain > 0:
                    found.append((-difference.gain, other))
        return tuple(model for _, model in sorted(found, key=lambda pair: pair[0]))

    def is_beaten(self, name: str, metric: Metric) -> bool:
        """Whether any other deployable model is measurably better."""
        return bool(self.betters(name, metric))


def comparison_of(
    content: Mapping[str, Any],
    *,
    seeds: Mapping[str, Sequence[str]] | None = None,
    of_runs: Mapping[str, Any] | None = None,
) -> Comparison:
    """The models of `metrics.json`.

    Args:
        content: Of `metrics.json`, or of the same form over groups of runs.
        seeds: By group, its runs; None: each run is a group.
        of_runs: `metrics.json` of the runs, for deviations over seeds; None: `content`.
    """
    of_runs = content if of_runs is None else of_runs
    models = []
    for name, entry in content["models"].items():
        kind = Kind(entry["kind"])
        runs = tuple((seeds or {}).get(name, (name,))) if kind is Kind.RUN else ()
        models.append(
            Model(
                name=name,
                title=title_of(name) if kind is Kind.RUN else entry["title"],
                kind=kind,
                runs=runs,
                means=entry["metrics"],
                deviations={m.name: _deviation(of_runs, runs, m.name) for m in METRICS},
                intervals={
                    metric: None if ends is None else (ends[0], ends[1])
                    for metric, ends in entry["intervals"].items()
                },
            )
        )
    metrics = {metric.name: metric for metric in METRICS}
    means = {name: entry["metrics"] for name, entry in content["models"].items()}
    tested = {
        (first, second, metric): _difference(
            first,
            second,
            metrics[metric],
            means=(means[first][metric], means[second][metric]),
            test=test,
        )
        for first, others in content["tests"].items()
        for second, of_metric in others.items()
        for metric, test in of_metric.items()
        if test["mean_difference"] is not None
    }
    bootstrap = content["bootstrap"]
    return Comparison(
        models=tuple(models),
        tested={key: _of_both_sides(one, tested) for key, one in tested.items()},
        scored={name: entry["sessions"] for name, entry in content["scored"].items()},
        sessions=content["sessions"],
        users=content["users"],
        resamples=bootstrap and bootstrap["resamples"],
    )


def _difference(
    first: str,
    second: str,
    metric: Metric,
    *,
    means: tuple[float, float],
    test: Mapping[str, Any],
) -> Difference:
    interval, clustered = test["interval"], test["clustered"]
    return Difference(
        first=first,
        second=second,
        metric=metric,
        sessions=test["sessions"],
        users=test["users"],
        mean=test["mean_difference"],
        means=means,
        low=interval and interval[0],
        high=interval and interval[1],
        cohens_d=test["cohens_d"],
        t_p=test["t_test"]["p_value"],
        t_holm=test["t_test"]["p_holm"],
        clustered_p=clustered and clustered["p_value"],
        clustered_holm=clustered and clustered["p_holm"],
        design_effect=clustered and clustered["design_effect"],
        has_clusters=clustered is not None,
    )


def _of_both_sides(
    difference: Difference, tested: Mapping[tuple[str, str, str], Difference]
) -> Difference:
    """With the larger of the two corrected p-values, which belong to the tests of either model."""
    other = tested.get((difference.second, difference.first, difference.metric.name))
    if other is None:
        return difference
    return replace(
        difference,
        t_holm=_larger(difference.t_holm, other.t_holm),
        clustered_holm=_larger(difference.clustered_holm, other.clustered_holm),
    )


def _larger(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else max(one, other)


def _deviation(content: Mapping[str, Any], runs: Sequence[str], metric: str) -> float | None:
    values = [content["models"][run]["metrics"][metric] for run in runs]
    if len(values) < 2 or None in values:
        return None
    return float(np.std(values, ddof=1))


def range_of(metric: Metric) -> tuple[float, float]:
    """Least and greatest value that a session can have, and so any mean."""
    if not metric.higher_is_better:
        return 1.0, float(metric.k or math.inf)
    return (-1.0, 1.0) if metric.k is None else (0.0, 1.0)


def groups_of(
    runs: Sequence[str], configs: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, tuple[str, ...]]:
    """Runs of `experiments.table` that differ in the seed only, by the name that they share.

    Args:
        runs: Names, in an order that is kept.
        configs: By name, what runs were trained with, as far as it is known.

    Returns:
        Runs by the name of the model. Those that are called as seeds of one model, but differ in
        more, are models of their own, by their own names.
    """
    groups: dict[str, list[str]] = {}
    for run in runs:
        match = _SEED.fullmatch(run)
        name = match["model"] if match else run
        # A run that is called as a group is a model of its own.
        groups.setdefault(f"{name} (seeds)" if match and name in runs else name, []).append(run)
    found: dict[str, tuple[str, ...]] = {}
    for name, members in groups.items():
        known = [{**of_run, "seed": 0} for run in members if (of_run := (configs or {}).get(run))]
        if all(config == known[0] for config in known):
            found[name] = tuple(members)
        else:
            found |= {run: (run,) for run in members}
    return found


def title_of(name: str) -> str:
    """The paper's name of a model, where it is known; else the run's."""
    for table in TABLES.values():
        for row in table.rows:
            if row.name == name:
                is_variant = table.head != "Model" and name != REFERENCE
                return f"CoSeRNN, {table.head.lower()}: {row.title}" if is_variant else row.title
    return name
