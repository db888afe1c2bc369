"""The table of the answer: the recommended model beside the best others, metric by metric."""

from experiments.reporting.document import Cell, Column, Estimate, Kind, Table
from experiments.reporting.formats import LEAST_P, p_value
from experiments.reporting.models import Difference, Model
from experiments.reporting.report_data import Evaluated
from experiments.reporting.words import metric_title, outcome


def scorecard(evaluated: Evaluated) -> Table | None:
    """None if nothing was tested."""
    comparison, verdict = evaluated.comparison, evaluated.verdict
    if not verdict.rivals or not comparison.tested:
        return None
    chosen = verdict.model
    columns = [
        Column("metric", "Metric"),
        Column("mean", chosen.title, Kind.NUMBER),
    ]
    for place, rivals in enumerate(verdict.rivals, start=1):
        group = f"Against {rivals.title}"
        columns += [
            Column(f"difference_{place}", "Difference", Kind.CHANGE, 1, group, ("low", "high")),
            Column(f"p_holm_{place}", "p", Kind.P_VALUE, group=group),
            Column(f"outcome_{place}", f"{short_title(chosen)} is", group=group),
            Column(f"model_{place}", "Which", group=group),
        ]
    rows = []
    for metric in comparison.metrics:
        row: list[Cell] = [metric_title(metric), chosen.means[metric.name]]
        for rivals in verdict.rivals:
            rival = rivals.by_metric.get(metric)
            difference = None
            if rival is not None:
                difference = comparison.difference(chosen.name, rival.name, metric)
            if rival is None or difference is None:
                row += [None, None, None, None]
            else:
                estimate = relative_estimate(difference)
                row += [estimate, difference.p, outcome(difference), rival.title]
        rows.append(tuple(row))
    note = "Differences in percent of the other's mean, with 95 % intervals. Of a rank, lower is "
    note += "better. p is corrected"
    least = comparison.least_p(chosen.name)
    if least is not None and least >= LEAST_P:
        note += f"; {p_value(least)} is the smallest that there can be"
    return Table(
        "scorecard",
        f"{chosen.title} beside the best of the others",
        tuple(columns),
        tuple(rows),
        (evaluated.evaluation.scores,),
        notes=(f"{note}.",),
    )


def relative_estimate(difference: Difference) -> Estimate | None:
    """A difference and its interval as shares of the second's mean."""
    if difference.relative is None:
        return None
    base = abs(difference.means[1])
    low, high = difference.low, difference.high
    return Estimate(
        difference.relative,
        low=None if low is None else low / base,
        high=None if high is None else high / base,
    )


def short_title(model: Model) -> str:
    return model.title if len(model.title) <= 24 else "the recommended model"
