"""The answer: means and differences of all models, and how they stand."""

from typing import Final

from cosernn_tf.evaluation.summary import Kind as Models
from experiments.reporting.costs import Cost
from experiments.reporting.document import (
    Block,
    Cell,
    Column,
    Estimate,
    Figure,
    Kind,
    Panel,
    Section,
    Table,
)
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Dot, DotRow, Words, draw_dots
from experiments.reporting.formats import counted, listed
from experiments.reporting.models import LEVEL, Difference, Model, range_of
from experiments.reporting.report_data import Evaluated
from experiments.reporting.sections.scorecard import short_title
from experiments.reporting.verdict import headline_metrics
from experiments.reporting.words import capital, metric_title, outcome, quoted

_RULE: Final = (
    "How this was decided: a model loses a metric if another one is measurably better by it, which "
    f"means a p-value of their difference below {LEVEL:g} after Holm's correction. The model that "
    "loses the fewest metrics is recommended. A task has a recommendation of its own where another "
    "model loses fewer of its metrics.",
    "Ties are decided, in this order, for a heuristic that shows no sign of being worse, as it "
    "costs nothing (a sign is a p-value below the same level without the correction); for the best "
    "mean by more metrics; for the best mean place; for the shortest training. Oracles see the "
    "session that they predict, and are no candidates.",
)


_KINDS: Final = {Models.HEURISTIC: "heuristic", Models.RUN: "trained"}
_OF_THE_OTHER: Final = {
    "better": "worse",
    "worse": "better",
    "not told apart": "not told apart",
}


def answer_section(evaluated: Evaluated) -> Section:
    blocks: list[Block] = [_means(evaluated), _by_metric(evaluated), _standings(evaluated)]
    if any(evaluated.comparison.tested):
        blocks.insert(1, _differences(evaluated))
    return Section("answer", "How the models compare", _RULE, tuple(blocks))


def _ordered(evaluated: Evaluated) -> list[Model]:
    return [standing.model for standing in evaluated.verdict.standings]


def _means(evaluated: Evaluated) -> Figure:
    comparison, name = evaluated.comparison, "means"
    chosen = evaluated.verdict.model
    metrics, models = headline_metrics(comparison), _ordered(evaluated)
    panels = []
    for metric in metrics:
        rows = []
        for model in models:
            mean, ends = model.means[metric.name], model.intervals[metric.name]
            assert mean is not None
            low, high = ends or (None, None)
            look = evaluated.looks[model.name]
            rows.append(DotRow(model.title, (Dot(look, mean, low, high, is_bold=model is chosen),)))
        title = capital(metric_title(metric))
        best = " and ".join(quoted(model) for model in comparison.best(metric))
        words = Words(
            f"{name}-{metric.name}",
            f"{title} of each model",
            f"{counted(len(models), 'model')}; {best} has the best mean, "
            f"{max_text(models, metric.name, metric.higher_is_better)}.",
        )
        least, most = range_of(metric)
        axis = Axis(f"mean {metric_title(metric)} over sessions", least=least, most=most)
        panels.append(Panel(title, draw_dots(rows, axis, words)))
    columns = (
        Column("model", "Model"),
        *(
            Column(m.name, capital(metric_title(m)), Kind.NUMBER, parts=("low", "high"))
            for m in metrics
        ),
    )
    cells = tuple(
        (model.title, *(_with_interval(model, metric.name) for metric in metrics))
        for model in models
    )
    table = Table(
        name,
        "Mean of each model, with 95 % intervals",
        columns,
        cells,
        (evaluated.evaluation.scores,),
    )
    has_intervals = comparison.resamples is not None
    return Figure(
        "What each model reaches",
        table,
        tuple(panels),
        says=(_says_means(evaluated),),
        reading=(
            "One row per model, the recommended one on top and in bold; hollow: heuristics. "
            + (
                "Lines are 95 % intervals with users as clusters. Those of two models may overlap "
                "although they differ: both are scored on the same sessions, see the next figure."
                if has_intervals
                else "The evaluation has no bootstrap, and so no intervals."
            )
        ),
    )


def max_text(models: list[Model], metric: str, higher_is_better: bool) -> str:
    """The best mean, as text."""
    values = [mean for model in models if (mean := model.means[metric]) is not None]
    return f"{(max if higher_is_better else min)(values):.4f}"


def _says_means(evaluated: Evaluated) -> str:
    comparison = evaluated.comparison
    by_first: dict[str, list[str]] = {}
    for metric in headline_metrics(comparison):
        firsts = listed([quoted(model) for model in comparison.best(metric)])
        by_first.setdefault(firsts, []).append(metric_title(metric))
    parts = [f"{firsts} by {listed(metrics)}" for firsts, metrics in by_first.items()]
    return f"Best on average: {'; '.join(parts)}."


def _with_interval(model: Model, metric: str) -> Estimate | None:
    mean, ends = model.means[metric], model.intervals[metric]
    if mean is None:
        return None
    low, high = ends or (None, None)
    return Estimate(mean, low=low, high=high)


def _differences(evaluated: Evaluated) -> Figure:
    """Of all others from the chosen model, on the same sessions."""
    comparison, name = evaluated.comparison, "differences"
    chosen = evaluated.verdict.model
    others = [model for model in _ordered(evaluated) if model is not chosen]
    metrics = headline_metrics(comparison)
    panels = []
    table_rows: list[tuple[str | float | Estimate | None, ...]] = []
    for metric in metrics:
        rows = []
        for model in others:
            difference = comparison.difference(model.name, chosen.name, metric)
            own = comparison.difference(chosen.name, model.name, metric)
            estimate = None if difference is None else _estimate(difference)
            if own is None or estimate is None:
                rows.append(DotRow(model.title, ()))
                continue
            look = evaluated.looks[model.name]
            dot = Dot(look, estimate.value, estimate.low, estimate.high)
            rows.append(DotRow(model.title, (dot,)))
            table_rows.append(
                (
                    model.title,
                    metric_title(metric),
                    estimate,
                    own.p,
                    _OF_THE_OTHER[outcome(own)],
                )
            )
        title = capital(metric_title(metric))
        words = Words(
            f"{name}-{metric.name}",
            f"{title}: difference from {chosen.title}",
            _says_differences(evaluated, [metric.name]),
        )
        axis = Axis(f"difference from {short_title(chosen)}", is_signed=True, has_zero=True)
        panels.append(Panel(title, draw_dots(rows, axis, words)))
    columns = (
        Column("model", "Model"),
        Column("metric", "Metric"),
        Column(
            "difference",
            f"Difference from {chosen.title}",
            Kind.SIGNED,
            parts=("low", "high"),
        ),
        Column("p_holm", "p, corrected", Kind.P_VALUE),
        Column("outcome", "It is"),
    )
    table = Table(
        name,
        f"Differences from {chosen.title}, on the same sessions",
        columns,
        tuple(table_rows),
        (evaluated.evaluation.scores,),
        notes=(f"Better or worse: p below {LEVEL:g} after Holm's correction.",),
    )
    return Figure(
        f"How the others differ from {chosen.title}",
        table,
        tuple(panels),
        says=(_says_differences(evaluated, [metric.name for metric in metrics]),),
        reading=(
            "Differences of means on the same sessions, in the metric's own units; the answer has "
            "them in percent. Left of zero is worse. Lines are 95 % intervals, each by itself, "
            "with users as clusters."
        ),
    )


def _estimate(difference: Difference) -> Estimate:
    return Estimate(difference.mean, low=difference.low, high=difference.high)


def _says_differences(evaluated: Evaluated, names: list[str]) -> str:
    comparison = evaluated.comparison
    chosen = evaluated.verdict.model
    counts = {"worse": 0, "better": 0, "not told apart": 0}
    for metric in comparison.metrics:
        if metric.name not in names:
            continue
        for model in comparison.deployable:
            difference = comparison.difference(chosen.name, model.name, metric)
            if difference is not None and model is not chosen:
                if not difference.is_measurable:
                    counts["not told apart"] += 1
                else:
                    counts["worse" if difference.gain > 0 else "better"] += 1
    total = sum(counts.values())
    return (
        f"Of {counted(total, 'comparison')} here the other model is measurably worse in "
        f"{counts['worse']}, measurably better in {counts['better']}, and not told apart in "
        f"{counts['not told apart']}."
    )


def _by_metric(evaluated: Evaluated) -> Table:
    """For each metric the first, the next, and how sure their order is."""
    comparison = evaluated.comparison
    rows: list[tuple[str | int | float | Estimate | None, ...]] = []
    for metric in comparison.metrics:
        sign = 1.0 if metric.higher_is_better else -1.0
        order = sorted(
            (m for m in comparison.deployable if m.means[metric.name] is not None),
            key=lambda m: -sign * (m.means[metric.name] or 0.0),
        )
        first = order[0]
        following = order[1] if len(order) > 1 else None
        difference = (
            comparison.difference(first.name, following.name, metric) if following else None
        )
        same = [
            other.title
            for other in order[1:]
            if (d := comparison.difference(first.name, other.name, metric)) is not None
            and not d.is_measurable
        ]
        rows.append(
            (
                metric_title(metric),
                first.title,
                first.means[metric.name],
                following.title if following else None,
                None if difference is None else _estimate(difference),
                None if difference is None else difference.p,
                "; ".join(same) or "none",
            )
        )
    return Table(
        "by_metric",
        "Which model is first, by metric",
        (
            Column("metric", "Metric"),
            Column("first", "Best mean"),
            Column("mean", "Mean", Kind.NUMBER),
            Column("next", "Next"),
            Column("lead", "Difference from it", Kind.SIGNED, parts=("low", "high")),
            Column("p_holm", "p, corrected", Kind.P_VALUE),
            Column("not_told_apart", "Not told apart from the first"),
        ),
        tuple(rows),
        (evaluated.evaluation.scores,),
        notes=("Rank: lower is better. Intervals are 95 %, with users as clusters.",),
    )


def _standings(evaluated: Evaluated) -> Table:
    rows = []
    for standing in evaluated.verdict.standings:
        rows.append(
            (
                standing.model.title,
                _KINDS[standing.model.kind],
                len(evaluated.comparison.metrics) - len(standing.unbeaten),
                len(standing.first),
                len(standing.model.runs) or None,
                *_cost_cells(evaluated.costs.get(standing.model.name)),
            )
        )
    return Table(
        "standings",
        "All models in the order of the rule, and what they cost",
        (
            Column("model", "Model"),
            Column("kind", "Kind"),
            Column("lost", "Metrics lost", Kind.COUNT),
            Column("best_mean", "Metrics with the best mean", Kind.COUNT),
            Column("seeds", "Seeds", Kind.COUNT),
            Column("minutes", "Training, minutes a seed", Kind.NUMBER, decimals=1),
            Column("epochs", "Epochs", Kind.NUMBER, decimals=1),
            Column("sessions_per_second", "Sessions/s in training", Kind.COUNT),
            Column("parameters", "Parameters", Kind.COUNT),
            Column("search_ms", "Nearest tracks of a prediction, ms", Kind.NUMBER, decimals=2),
        ),
        tuple(rows),
        (
            evaluated.evaluation.scores,
            *(run.source for cost in evaluated.costs.values() for run in cost.runs),
        ),
        notes=(
            f"Of {counted(len(evaluated.comparison.metrics), 'metric')}. Heuristics are not "
            "trained. Times are of the machines that trained the runs, see the provenance.",
        ),
    )


def _cost_cells(cost: Cost | None) -> tuple[Cell, ...]:
    if cost is None:
        return (None,) * 5
    return (
        cost.minutes,
        cost.epochs,
        cost.sessions_per_second,
        cost.parameters,
        cost.latency_ms,
    )
