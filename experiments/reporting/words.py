"""The answer in sentences, each of which follows from the numbers."""

from collections.abc import Mapping, Sequence
from typing import Final

from cosernn_tf.evaluation.metrics import Metric
from cosernn_tf.evaluation.summary import Kind
from experiments.reporting.costs import Cost
from experiments.reporting.formats import change, counted, listed, p_clause
from experiments.reporting.models import LEVEL, Comparison, Difference, Model
from experiments.reporting.verdict import Standing, Verdict, headline_metrics, task_title

_BUSY: Final = 1.5
"""Load a core that training alone does not reach."""

_NAMED: Final = 6
"""Runs that are named where many are left out."""


def headline(verdict: Verdict) -> str:
    """What to deploy."""
    comparison, chosen = verdict.comparison, verdict.chosen
    count = counted(len(comparison.metrics), "metric")
    name = quoted(chosen.model)
    if not comparison.trained:
        return (
            f"No trained model has been evaluated. Of the heuristics, {name} has the best mean of "
            f"{len(chosen.first)} of {count}."
        )
    if any(standing is not chosen for standing in verdict.tasks.values()):
        return _by_task(verdict)
    if chosen.model.kind is Kind.HEURISTIC:
        return (
            f"Deploy {name}, which needs no training: no trained model is measurably better by "
            f"{_all_or_some(chosen, comparison)}."
        )
    return (
        f"Deploy {name}: no other model is measurably better by "
        f"{_all_or_some(chosen, comparison)}, and it has the best mean of {len(chosen.first)}."
    )


def _all_or_some(chosen: Standing, comparison: Comparison) -> str:
    count = counted(len(comparison.metrics), "metric")
    unbeaten = len(chosen.unbeaten)
    return f"any of {count}" if unbeaten == len(comparison.metrics) else f"{unbeaten} of {count}"


def _by_task(verdict: Verdict) -> str:
    """Where one model is not the best for all."""
    tasks: dict[str, list[str]] = {}
    for task, standing in verdict.tasks.items():
        tasks.setdefault(standing.model.name, []).append(task_title(task))
    parts = []
    for standing in verdict.standings:
        if standing.model.name in tasks:
            untrained = standing.model.kind is Kind.HEURISTIC
            note = ", which needs no training" if untrained else ""
            parts.append(f"{quoted(standing.model)} for {listed(tasks[standing.model.name])}{note}")
    return f"No model is the best for everything. Deploy {'; '.join(parts)}."


def reasons(verdict: Verdict, costs: Mapping[str, Cost]) -> list[str]:
    """By how much, how sure, where it is not the best, and at what cost."""
    found = _if_one(verdict)
    for rival, role in verdict.alternatives:
        found.append(_against(verdict, rival.model, role))
    found += _where_beaten(verdict)
    sure = _how_sure(verdict)
    if sure is not None:
        found.append(sure)
    return found + _costs(verdict, costs)


def _if_one(verdict: Verdict) -> list[str]:
    """What to deploy where one model has to do for everything, and tasks have their own."""
    chosen = verdict.chosen
    if all(standing is chosen for standing in verdict.tasks.values()):
        return []
    return [
        f"If one model has to do for all: {quoted(chosen.model)}. No other is measurably better by "
        f"{_all_or_some(chosen, verdict.comparison)}, more than of any other model."
        if chosen.count_unbeaten() > verdict.standings[1].count_unbeaten()
        else f"If one model has to do for all: {quoted(chosen.model)}."
    ]


def _against(verdict: Verdict, rival: Model, role: str) -> str:
    comparison, chosen = verdict.comparison, verdict.model
    clauses: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for metric in headline_metrics(comparison):
        difference = comparison.difference(chosen.name, rival.name, metric)
        if difference is not None:
            clauses[outcome(difference)].append(
                f"{metric_title(metric)} ({relative_text(difference)})"
            )
    parts = [f"{word} by {listed(items)}" for word, items in clauses.items() if items]
    subject = f"Against {quoted(rival)}, {role}, {quoted(chosen)} "
    if not parts:
        return f"{subject}was not tested."
    return f"{subject}is {'; '.join(parts)}."


def outcome(difference: Difference) -> str:
    """What the first model is to the second: better, worse, or not told apart."""
    if not difference.is_measurable:
        return "not told apart"
    return "better" if difference.gain > 0 else "worse"


def relative_text(difference: Difference) -> str:
    """In percent; in the metric's own units where the other's mean is zero."""
    if difference.relative is None:
        return f"{difference.mean:+.4f}"
    return change(difference.relative)


def _where_beaten(verdict: Verdict) -> list[str]:
    """By which metrics another model is measurably better, and which."""
    comparison, chosen = verdict.comparison, verdict.chosen
    by_model: dict[str, list[str]] = {}
    for metric in comparison.metrics:
        if metric in chosen.unbeaten:
            continue
        best = comparison.best(metric)[0]
        means = best.means[metric.name], chosen.model.means[metric.name]
        by_model.setdefault(best.name, []).append(
            f"{metric_title(metric)} ({means[0]:.4f} against {means[1]:.4f})"
        )
    return [
        f"{quoted(comparison.by_name[name])} is better than it by {listed(where)}."
        for name, where in by_model.items()
    ]


def _how_sure(verdict: Verdict) -> str | None:
    """On what "better" rests."""
    comparison = verdict.comparison
    tests = [
        difference
        for model in comparison.deployable
        for metric in comparison.metrics
        if (difference := comparison.difference(verdict.model.name, model.name, metric)) is not None
    ]
    sure = [test.p for test in tests if test.is_measurable and test.p is not None]
    if not tests:
        return None
    by = (
        "in a test that draws whole users"
        if comparison.resamples is not None
        else "in a t-test that takes sessions for independent"
    )
    noise = len(tests) - len(sure)
    text = f"Better and worse are said of differences with p < 0.05 {by}, after Holm's correction"
    if sure:
        text += f": of {len(tests)} tests of {quoted(verdict.model)} against the others "
        text += f"{len(sure)} have one, with {p_clause(max(sure))} at most"
    return f"{text}; {noise} {'is' if noise == 1 else 'are'} within noise."


def _costs(verdict: Verdict, costs: Mapping[str, Cost]) -> list[str]:
    """Of the recommended model and of the trained alternatives."""
    models = [verdict.model, *(standing.model for standing, _ in verdict.alternatives)]
    trained = [model for model in models if model.kind is Kind.RUN]
    found = [
        f"What {quoted(model)} costs is not known: the workspace has no run of it."
        for model in trained
        if model.name not in costs
    ]
    if verdict.model.kind is Kind.HEURISTIC:
        look_up = "costs a look-up in the user's past sessions: nothing is trained."
        found.append(f"{quoted(verdict.model)} {look_up}")
    known = [(model, costs[model.name]) for model in trained if model.name in costs]
    machines = list(dict.fromkeys(m for _, cost in known for m in cost.machines))
    for model, cost in known:
        seeds = f" (mean of {len(cost.runs)} seeds)" if len(cost.runs) > 1 else ""
        text = (
            f"Training {quoted(model)} took {cost.minutes:.1f} minutes{seeds}, {cost.epochs:.0f} "
            f"epochs at {cost.sessions_per_second:,.0f} sessions a second"
        )
        if machines and model is known[0][0]:
            text += f", on {listed(machines)}"
        if cost.parameters is not None:
            text += f"; it has {cost.parameters:,} parameters"
        if cost.latency_ms is not None:
            text += f", and a search of its index takes {cost.latency_ms:.2g} ms"
        found.append(f"{text}.")
    return found


def cautions(
    verdict: Verdict,
    costs: Mapping[str, Cost],
    *,
    is_synthetic: bool,
    not_evaluated: Sequence[str],
) -> list[str]:
    """What limits the answer."""
    comparison = verdict.comparison
    found = []
    if is_synthetic:
        found.append(
            "The log is the embedded synthetic one: results compare models with each other on that "
            "log, and are not to be held against the paper's."
        )
    single = [quoted(model) for model in comparison.trained if len(model.runs) == 1]
    if single:
        found.append(
            f"Of {listed(single)} there is one seed: how much another differs, is unknown."
        )
    if comparison.trained and comparison.resamples is None:
        found.append(
            "The evaluation has no bootstrap: p-values are of a t-test that takes sessions for "
            "independent, which those of a user are not, and are too small."
        )
    tests = len(comparison.metrics) * (len(comparison.models) - 1)
    if comparison.resamples is not None and tests >= LEVEL * (comparison.resamples + 1):
        found.append(
            f"The bootstrap's {comparison.resamples:,} resamples are too few for {tests} tests: "
            "after the correction none of them can be below 0.05, however large a difference is. "
            "Evaluate with a larger --bootstrap_resamples."
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
            "Other programs were at work while models were trained (up to "
            f"{max(loads):.1f} wanted each core): alone, training is faster."
        )
    if not_evaluated:
        found.append(
            f"Trained, but not in this evaluation: {listed(_first_few(not_evaluated))}. "
            "python -m cosernn_tf.evaluate takes all finished runs."
        )
    return found


def _first_few(names: Sequence[str]) -> list[str]:
    more = len(names) - _NAMED
    return [*names] if more < 2 else [*names[:_NAMED], f"{more} more"]


def quoted(model: Model) -> str:
    """A title as it stands in a sentence; those of heuristics, and some others, have commas."""
    return f"“{model.title}”" if model.kind is not Kind.RUN or "," in model.title else model.title


def metric_title(metric: Metric) -> str:
    """As in a sentence: MRR at K = 50."""
    title = metric.title.lower() if metric.title in ("Cosine", "Rank") else metric.title
    return f"{title} at K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{metric.k}" if metric.k else title


def capital(text: str) -> str:
    """With a capital at the start, but for names that have one within, as mAP."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first == first.lower() else text
