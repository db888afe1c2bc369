"""The answer in sentences, each of which follows from the numbers."""

from collections.abc import Mapping

from cosernn_tf.evaluation.clusters import MIN_USERS
from cosernn_tf.evaluation.metrics import Metric
from cosernn_tf.evaluation.summary import Kind
from experiments.reporting.costs import Cost
from experiments.reporting.formats import LEAST_P, change, counted, listed, p_clause, p_value
from experiments.reporting.models import Comparison, Difference, Model
from experiments.reporting.verdict import (
    Rivals,
    Standing,
    Verdict,
    headline_metrics,
    task_title,
)


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
    if not comparison.is_tested:
        leader = max(verdict.standings, key=lambda standing: len(standing.first))
        return (
            f"No model can be recommended: {_untested(comparison)}. By the means alone, which may "
            f"be chance, {quoted(leader.model)} is first in {len(leader.first)} of {count}."
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


def _untested(comparison: Comparison) -> str:
    """Why there is no test at all."""
    users = counted(comparison.users, "user")
    return f"a test that draws whole users needs {MIN_USERS} of them, and {users} had a score"


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
    found += [_against(verdict, rivals) for rivals in verdict.rivals]
    found += _where_beaten(verdict)
    found += _not_told_apart(verdict)
    sure = _how_sure(verdict)
    if sure is not None:
        found.append(sure)
    return found + _costs(verdict, costs)


def _if_one(verdict: Verdict) -> list[str]:
    """What to deploy where one model has to do for everything, and whether that is a tie."""
    chosen, metrics = verdict.chosen, len(verdict.comparison.metrics)
    found = []
    if any(standing is not chosen for standing in verdict.tasks.values()):
        found.append(f"If one model has to do for all: {quoted(chosen.model)}.")
        if verdict.tie is None:
            found.append(
                f"It loses the fewest metrics, {metrics - len(chosen.unbeaten)} of {metrics}: by "
                "these another model is measurably better."
            )
    if verdict.tie is not None:
        others = verdict.tie.others
        found += [
            f"It is a tie: {listed([quoted(model) for model in others])} "
            f"{'loses' if len(others) == 1 else 'lose'} as few metrics as {quoted(chosen.model)}, "
            f"{metrics - len(chosen.unbeaten)} of {metrics}. {quoted(chosen.model)} goes first "
            f"because {verdict.tie.decided_by}."
        ]
    return [" ".join(found)] if found else []


def _against(verdict: Verdict, rivals: Rivals) -> str:
    """Against the best other model of each metric, which may be a different one each time."""
    comparison, chosen = verdict.comparison, verdict.model
    metrics = [m for m in headline_metrics(comparison) if m in rivals.by_metric]
    names = {rivals.by_metric[metric].name for metric in metrics}
    clauses: dict[str, list[str]] = {"better": [], "worse": [], "not told apart": []}
    for metric in metrics:
        rival = rivals.by_metric[metric]
        difference = comparison.difference(chosen.name, rival.name, metric)
        if difference is not None:
            text = relative_text(difference)
            if len(names) > 1:
                text += f" against {quoted(rival)}"
            clauses[outcome(difference)].append(f"{metric_title(metric)} ({text})")
    parts = [f"{word} by {listed(items)}" for word, items in clauses.items() if items]
    title = f"{rivals.title} of each metric,"
    if len(names) == 1:
        title = f"{quoted(comparison.by_name[names.pop()])}, {rivals.title} by these metrics,"
    said = f"is {'; '.join(parts)}" if parts else "was not tested"
    return f"Against {title} {quoted(chosen)} {said}."


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
        best = comparison.betters(chosen.model.name, metric)[0]
        means = best.means[metric.name], chosen.model.means[metric.name]
        by_model.setdefault(best.name, []).append(
            f"{metric_title(metric)} ({means[0]:.4f} against {means[1]:.4f})"
        )
    return [
        f"{quoted(comparison.by_name[name])} is measurably better than {quoted(chosen.model)} by "
        f"{listed(where)}."
        for name, where in by_model.items()
    ]


def _not_told_apart(verdict: Verdict) -> list[str]:
    """By task, what might as well have been recommended as far as the tests tell."""
    parts = [
        f"{quoted(standing.model)} from {listed([quoted(model) for model in same])} for "
        f"{task_title(task)}"
        for task, standing in verdict.tasks.items()
        if (same := verdict.not_told_apart(task))
    ]
    return [f"No metric of the task tells apart {'; '.join(parts)}."] if parts else []


def _how_sure(verdict: Verdict) -> str | None:
    """On what "better" rests."""
    comparison, name = verdict.comparison, verdict.model.name
    tests = [
        difference
        for model in comparison.deployable
        for metric in comparison.metrics
        if (difference := comparison.difference(name, model.name, metric)) is not None
    ]
    if not tests:
        return None
    if not comparison.is_tested:
        return f"Nothing here was tested: {_untested(comparison)}."
    untested = sum(test.p is None for test in tests)
    sure = [test.p for test in tests if test.is_measurable and test.p is not None]
    corrected = comparison.count_tests(name)
    text = "Better and worse mean p < 0.05 "
    text += (
        "in a test that draws whole users"
        if comparison.resamples is not None
        else "in a t-test that takes sessions for independent"
    )
    text += f", after Holm's correction for {counted(corrected, 'test')}"
    if corrected > len(tests):
        text += f" ({corrected - len(tests)} of them against oracles)"
    text += f". Of the {len(tests)} against models that can be deployed, {len(sure)} "
    text += f"{'is' if len(sure) == 1 else 'are'} that sure"
    if sure:
        text += f", with {p_clause(max(sure))} at most"
        least = comparison.least_p(name)
        if least is not None and least >= LEAST_P:
            text += (
                f" ({p_value(least)} is the smallest that {comparison.resamples:,} resamples allow "
                "after the correction)"
            )
    noise = len(tests) - len(sure) - untested
    text += f"; {noise} {'is' if noise == 1 else 'are'} within noise"
    if untested:
        text += f", and {untested} could not be tested, as fewer than {MIN_USERS} users had a score"
    return f"{text}."


def _costs(verdict: Verdict, costs: Mapping[str, Cost]) -> list[str]:
    """Of the recommended model and of the trained alternatives."""
    models = [verdict.model, *verdict.alternatives]
    trained = [model for model in models if model.kind is Kind.RUN]
    unknown = [quoted(model) for model in trained if model.name not in costs]
    found = []
    if unknown:
        found.append(
            f"What {listed(unknown)} cost{'s' * (len(unknown) == 1)} is not known: the workspace "
            "has no run of it as it was evaluated."
        )
    if verdict.model.kind is Kind.HEURISTIC:
        look_up = "costs a look-up in the user's past sessions: nothing is trained."
        found.append(f"{quoted(verdict.model)} {look_up}")
    known = [(model, costs[model.name]) for model in trained if model.name in costs]
    if known:
        machines = list(dict.fromkeys(m for _, cost in known for m in cost.machines))
        where = f", on {listed(machines)}" if machines else ""
        each = [_cost(model, cost) for model, cost in known]
        found.append(f"Training one seed took{where}: {'; '.join(each)}.")
        latencies = [cost.latency_ms for _, cost in known if cost.latency_ms is not None]
        if latencies:
            found.append(
                f"To find the nearest tracks of a prediction takes {max(latencies):.2g} ms; making "
                "the prediction is not counted."
            )
    return found


def _cost(model: Model, cost: Cost) -> str:
    text = (
        f"{quoted(model)} {cost.minutes:.1f} minutes, {cost.epochs:.0f} epochs at "
        f"{cost.sessions_per_second:,.0f} sessions a second"
    )
    return text if cost.parameters is None else f"{text}, {cost.parameters:,} parameters"


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
