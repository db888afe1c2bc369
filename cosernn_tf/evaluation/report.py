"""The summary as the printed table in the form of Table 2, as Markdown, and as `metrics.json`."""

import math
from itertools import groupby
from typing import Any, Final

from cosernn_tf.evaluation.metrics import METRICS, Metric
from cosernn_tf.evaluation.summary import Kind, ModelSummary, Summary

METRICS_FORMAT: Final = 1
"""Version of the form of `metrics.json`."""

SIGNIFICANCE_MARKS: Final = ((0.001, "*"), (0.05, "+"))
"""Levels and marks, the strictest first; §6.3 uses the first."""
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
    lines = [_spanned(width, "task"), _spanned(width, "k")]
    titles = (f"{metric.title:>{_width(metric) - 1}} " for metric in METRICS)
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
    lines += [rule, *_legend(summary, reference, best=f"{BEST_MARK} best of its column")]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def format_markdown(summary: Summary, *, reference: str | None = None) -> str:
    """The same table in Markdown, the best of each column in bold."""
    reference = _reference(summary, reference)
    heads = [f"{metric.title} (K = {metric.k})" if metric.k else metric.title for metric in METRICS]
    lines = ["| " + " | ".join(["Model", *heads]) + " |", "|---|" + "---:|" * len(heads)]
    for model in summary.models:
        cells = [model.title]
        for metric in METRICS:
            number = _number(model.means[metric.name])
            best = model.name in summary.best(metric)
            mark = _mark(summary, reference, model, metric).replace("*", r"\*")
            cells.append((f"**{number}**" if best else number) + mark)
        lines.append("| " + " | ".join(cells) + " |")
    legend = _legend(summary, reference, best="Bold: best of its column")
    lines += ["", *("- " + line.replace("*", r"\*") for line in legend)]
    return "\n".join(lines) + "\n"


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
            }
            for metric in METRICS
        },
        "models": {
            model.name: {
                "title": model.title,
                "kind": model.kind.value,
                "metrics": {name: _finite(mean) for name, mean in model.means.items()},
            }
            for model in summary.models
        },
        "references": list(summary.references),
        "paired_t_tests": {
            reference: {
                other: {
                    metric: {
                        "sessions": test.sessions,
                        "mean_difference": _finite(test.mean_difference),
                        "t": _finite(test.statistic),
                        "p_value": _finite(test.p_value),
                    }
                    for metric, test in tests.items()
                }
                for (of, other), tests in summary.tests.items()
                if of == reference
            }
            for reference in summary.references
        },
    }


def _reference(summary: Summary, reference: str | None) -> str | None:
    if reference is None:
        return summary.references[0] if summary.references else None
    if reference not in summary.references:
        raise ValueError(f"{reference!r} is not among the references {summary.references}")
    return reference


def _spanned(width: int, field: str) -> str:
    """A heading line over the columns that share a task, or a task's K."""
    line = " " * width + _GAP
    groups = groupby(METRICS, lambda m: (m.task, m.k) if field == "k" else m.task)
    for _, group in groups:
        metrics = list(group)
        text = metrics[0].task if field == "task" else f"K = {metrics[0].k}"
        line += f"{text if metrics[0].k else '':^{sum(map(_width, metrics))}}"
    return line


def _width(metric: Metric) -> int:
    """Of a cell: ranks have two digits before the point; a space is left between any two."""
    return _DECIMALS + (5 if metric.higher_is_better else 6)


def _text_cell(summary: Summary, model: ModelSummary, metric: Metric, reference: str | None) -> str:
    """A number, right-aligned, between the mark of the best and that of significance."""
    best = BEST_MARK if model.name in summary.best(metric) else ""
    mark = _mark(summary, reference, model, metric)
    return f"{best + _number(model.means[metric.name]):>{_width(metric) - 1}}{mark:1}"


def _mark(summary: Summary, reference: str | None, model: ModelSummary, metric: Metric) -> str:
    """How sure it is that the model differs from the reference; empty for reference and oracles."""
    if reference is None or model.name == reference or model.kind is Kind.ORACLE:
        return ""
    p_value = summary.tests[reference, model.name][metric.name].p_value
    return next((mark for level, mark in SIGNIFICANCE_MARKS if p_value < level), "")


def _legend(summary: Summary, reference: str | None, *, best: str) -> list[str]:
    lines = [f"{best}, oracles aside."]
    if reference is not None:
        title = next(model.title for model in summary.models if model.name == reference)
        levels = ", ".join(f"{mark} p < {level:g}" for level, mark in SIGNIFICANCE_MARKS)
        lines.append(f"{levels}: differs from {title} (paired two-tailed t-test over sessions).")
    lines.append(
        f"Cosine: {summary.sessions:,} sessions of {summary.users:,} users, those with a played "
        "track that has an embedding."
    )
    if summary.without_target is not None:
        lines.append(f"Not scored: the split's {summary.without_target:,} sessions that have none.")
    for task, group in groupby((m for m in METRICS if m.k), lambda metric: metric.task):
        counts = {metric.k: metric.name for metric in group}
        parts = (
            f"K = {k}: {summary.scored[name]:,} sessions ({_percent(summary.share(name))})"
            for k, name in counts.items()
        )
        lines.append(f"{task}, " + ", ".join(parts) + ".")
    return lines


def _number(mean: float) -> str:
    return _ABSENT if math.isnan(mean) else f"{mean:.{_DECIMALS}f}"


def _percent(share: float) -> str:
    return _ABSENT if math.isnan(share) else f"{100 * share:.1f} %"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
