"""The summary as the printed table in the form of Table 2, and as `metrics.json`."""

import math
from itertools import groupby
from typing import Any, Final

from cosernn_tf.evaluation.clusters import LEVEL, MIN_USERS, Bootstrap
from cosernn_tf.evaluation.comparisons import CONFIRMED_BELOW, Comparison, Interval
from cosernn_tf.evaluation.metrics import METRICS, Metric
from cosernn_tf.evaluation.summary import Kind, ModelSummary, Summary

METRICS_FORMAT: Final = 2
"""Version of the form of `metrics.json`."""

SIGNIFICANCE_MARKS: Final = ((0.001, "*"), (0.05, "+"))
"""Levels and marks, the strictest first; §6.3 uses the first."""
UNCONFIRMED_MARK: Final = "?"
"""Behind one of these: the difference does not hold with users as clusters."""
BEST_MARK: Final = ">"

_GAP: Final = "  "
_DECIMALS: Final = 4
_ABSENT: Final = "-"


def format_table(summary: Summary, *, reference: str | None = None) -> str:
    """Fixed-width text: a row a model, the metrics of Table 2, and what they mean and rest on.

    Args:
        summary: Of all models.
        reference: The run whose differences from the others are marked; by default the first.
    """
    reference = _reference(summary, reference)
    width = max([len("Model"), *(len(model.title) for model in summary.models)])
    marks = _marks(summary)
    lines = [_spanned(width, field, marks=marks) for field in ("task", "k")]
    titles = (f"{metric.title:>{_width(metric)}}{'':{marks}}" for metric in METRICS)
    lines.append(f"{'Model':{width}}{_GAP}" + "".join(titles))
    rule = "-" * len(lines[-1])
    lines.append(rule)
    kind: Kind | None = None
    for model in summary.models:
        if kind not in (None, model.kind):
            lines.append(rule)
        kind = model.kind
        cells = (_text_cell(summary, model, metric, reference) for metric in METRICS)
        lines.append(f"{model.title:{width}}{_GAP}" + "".join(cells))
    lines += [rule, *_legend(summary, reference)]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def metrics_json(summary: Summary) -> dict[str, Any]:
    """The content of `metrics.json`; what has no finite value is null."""
    return {
        "format": METRICS_FORMAT,
        "users": summary.users,
        "sessions": summary.sessions,
        "sessions_without_target": summary.without_target,
        "scored": {
            metric.name: {
                "sessions": summary.scored[metric.name],
                "share": _finite(summary.share(metric.name)),
                "users": summary.scored_users[metric.name],
                "users_share": _finite(summary.users_share(metric.name)),
            }
            for metric in METRICS
        },
        "bootstrap": summary.bootstrap
        and {
            "cluster": "user",
            "resamples": summary.bootstrap.resamples,
            "seed": summary.bootstrap.seed,
            "level": LEVEL,
        },
        "models": {
            model.name: {
                "title": model.title,
                "kind": model.kind.value,
                "metrics": {name: _finite(mean) for name, mean in model.means.items()},
                "intervals": {name: _ends(ends) for name, ends in model.intervals.items()},
            }
            for model in summary.models
        },
        "references": list(summary.references),
        "tests": {
            reference: {
                other: {metric: _test_json(test) for metric, test in tests.items()}
                for (of, other), tests in summary.tests.items()
                if of == reference
            }
            for reference in summary.references
        },
    }


def _test_json(test: Comparison) -> dict[str, Any]:
    paired, clustered = test.paired, test.clustered
    return {
        "sessions": paired.sessions,
        "users": test.users,
        "mean_difference": _finite(paired.mean_difference),
        "relative_percent": _finite(100.0 * test.relative),
        "cohens_d": _finite(paired.effect_size),
        "interval": None if clustered is None else _ends(clustered.interval),
        "t_test": {
            "t": _finite(paired.statistic),
            "p_value": _finite(paired.p_value),
            "p_holm": _finite(test.paired_holm),
        },
        "clustered": None
        if clustered is None
        else {
            "t": _finite(clustered.statistic),
            "p_value": _finite(clustered.p_value),
            "p_holm": _finite(clustered.p_holm),
            "standard_error": _finite(clustered.standard_error),
            "design_effect": _finite(clustered.design_effect),
        },
    }


def _reference(summary: Summary, reference: str | None) -> str | None:
    if reference is None:
        return summary.references[0] if summary.references else None
    if reference not in summary.references:
        raise ValueError(f"{reference!r} is not among the references {summary.references}")
    return reference


def _spanned(width: int, field: str, *, marks: int) -> str:
    """A heading line over the columns that share a task, or a task's K."""
    line = " " * width + _GAP
    groups = groupby(METRICS, lambda m: (m.task, m.k) if field == "k" else m.task)
    for _, group in groups:
        metrics = list(group)
        text = metrics[0].task if field == "task" else f"K = {metrics[0].k}"
        across = sum(_width(metric) + marks for metric in metrics)
        line += f"{text if metrics[0].k else '':^{across}}"
    return line


def _width(metric: Metric) -> int:
    """Of a cell without marks: ranks have two digits before the point; a space stands between."""
    return _DECIMALS + (4 if metric.higher_is_better else 5)


def _marks(summary: Summary) -> int:
    """Characters of a cell that are for marks."""
    return 1 if summary.bootstrap is None else 2


def _text_cell(summary: Summary, model: ModelSummary, metric: Metric, reference: str | None) -> str:
    """A number, right-aligned, between the mark of the best and that of significance."""
    best = BEST_MARK if model.name in summary.best(metric) else ""
    mark = _mark(summary, reference, model, metric)
    number = best + _number(model.means[metric.name])
    return f"{number:>{_width(metric)}}{mark:{_marks(summary)}}"


def _mark(summary: Summary, reference: str | None, model: ModelSummary, metric: Metric) -> str:
    """How sure it is that the model differs from the reference; empty for reference and oracles."""
    if reference is None or model.name == reference or model.kind is Kind.ORACLE:
        return ""
    test = summary.tests[reference, model.name][metric.name]
    mark = next((mark for level, mark in SIGNIFICANCE_MARKS if test.paired.p_value < level), "")
    is_doubtful = mark and summary.bootstrap is not None and not test.is_confirmed
    return mark + UNCONFIRMED_MARK if is_doubtful else mark


def _legend(summary: Summary, reference: str | None) -> list[str]:
    lines = [f"{BEST_MARK} best of its column, oracles aside."]
    if reference is not None:
        title = next(model.title for model in summary.models if model.name == reference)
        levels = ", ".join(f"{mark} p < {level:g}" for level, mark in SIGNIFICANCE_MARKS)
        lines.append(f"{levels}: differs from {title} (paired two-tailed t-test over sessions).")
        if summary.bootstrap is not None:
            lines += _legend_of_clusters(summary, reference, summary.bootstrap)
    lines.append(
        f"Cosine: {summary.sessions:,} sessions of {summary.users:,} users, those with a played "
        "track that has an embedding."
    )
    if summary.without_target is not None:
        lines.append(f"Not scored: the split's {summary.without_target:,} sessions that have none.")
    for task, group in groupby((m for m in METRICS if m.k), lambda metric: metric.task):
        counts = {metric.k: metric.name for metric in group}
        parts = (
            f"K = {k}: {summary.scored[name]:,} sessions ({_percent(summary.share(name))}) of "
            f"{summary.scored_users[name]:,} users"
            for k, name in counts.items()
        )
        lines.append(f"{task}, " + "; ".join(parts) + ".")
    return lines


def _legend_of_clusters(summary: Summary, reference: str, bootstrap: Bootstrap) -> list[str]:
    tests = summary.number_of_tests(reference)
    lines = [
        f"{UNCONFIRMED_MARK} behind it: not so (p >= {CONFIRMED_BELOW:g}) with users as clusters "
        f"and Holm's correction for {tests:,} tests."
    ]
    if tests >= CONFIRMED_BELOW * (bootstrap.resamples + 1):
        lines.append(
            f"{bootstrap.resamples:,} resamples are too few to confirm any of these: "
            f"--bootstrap_resamples={round(tests / CONFIRMED_BELOW)} is the least."
        )
    few = [m for m in METRICS if 0 < summary.scored_users[m.name] < MIN_USERS]
    if few:
        titles = ", ".join(f"{m.title}, K = {m.k}" if m.k else m.title for m in few)
        lines.append(f"Fewer than {MIN_USERS} users, too few for clusters: {titles}.")
    return lines


def _number(mean: float) -> str:
    return _ABSENT if math.isnan(mean) else f"{mean:.{_DECIMALS}f}"


def _percent(share: float) -> str:
    return _ABSENT if math.isnan(share) else f"{100 * share:.1f} %"


def _ends(interval: Interval) -> list[float] | None:
    return None if any(map(math.isnan, interval)) else list(interval)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
