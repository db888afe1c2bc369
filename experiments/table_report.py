"""A table as measured, beside the paper's own relative figures: Markdown and CSV."""

import csv
import io
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cosernn_tf.evaluation.metrics import Metric
from experiments.tables import REFERENCE, Table

_METRICS_A_BLOCK: Final = 3
_ABSENT: Final = "-"

COLUMNS: Final = (
    "table", "row", "metric", "seeds", "mean", "deviation", "relative", "paper", "paper_relative"
)  # fmt: skip
"""Of the CSV, a row a cell of the table; what is not defined is empty."""


@dataclass(frozen=True)
class Figure:
    """A cell: a metric of a row over seeds, and the paper's."""

    values: tuple[float, ...]
    """One a seed; of a heuristic or an oracle one."""
    reference: float
    """Mean of the reference row."""
    paper: float
    """NaN where the paper has none, as is that of its reference."""
    paper_reference: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; NaN of fewer than two."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan

    @property
    def relative(self) -> float:
        """Difference from the reference row, as a share of it."""
        return self.mean / self.reference - 1 if self.reference else math.nan

    @property
    def paper_relative(self) -> float:
        return self.paper / self.paper_reference - 1


Figures = Mapping[tuple[str, str], Figure]
"""By names of row and metric."""


def figures_of(
    table: Table, runs: Mapping[str, Sequence[str]], content: Mapping[str, Any]
) -> Figures:
    """The figures of the rows of a table.

    Args:
        table: With the rows that are wanted.
        runs: Names of the runs of a row, one a seed, by the row's name.
        content: Of `metrics.json`: an evaluation of all these runs.
    """

    def values(row: str, metric: str) -> tuple[float, ...]:
        found = (content["models"][run]["metrics"][metric] for run in runs.get(row, [row]))
        return tuple(math.nan if value is None else value for value in found)

    paper = {row.name: row.paper for row in table.rows}
    has_reference = REFERENCE in paper
    return {
        (row.name, metric.name): Figure(
            values(row.name, metric.name),
            float(np.mean(values(REFERENCE, metric.name))) if has_reference else math.nan,
            row.paper.get(metric.name, math.nan),
            paper[REFERENCE].get(metric.name, math.nan) if has_reference else math.nan,
        )
        for row in table.rows
        for metric in table.metrics
    }


def to_markdown(table: Table, figures: Figures, *, notes: Sequence[str]) -> str:
    """Blocks of a few metrics each, aligned to be read as plain text, too."""
    reference = next((row.title for row in table.rows if row.name == REFERENCE), None)
    lines = [f"# Table {table.number}: {table.caption}", "", *(f"- {note}" for note in notes)]
    is_of_paper = any(row.paper for row in table.rows)
    if reference is not None:
        lines.append(
            f"- Δ: difference from the row {reference!r}, in percent of it"
            + (
                ", here and in the paper. The data are others: compare signs and order, not sizes."
                if is_of_paper
                else "."
            )
        )
    for start in range(0, len(table.metrics), _METRICS_A_BLOCK):
        metrics = table.metrics[start : start + _METRICS_A_BLOCK]
        # Without a paper's figures the last of each metric's columns would be empty.
        columns = slice(None if is_of_paper else -1)
        rows = [[table.head, *(head for metric in metrics for head in _heads(metric)[columns])]]
        for row in table.rows:
            found = (_cells(figures[row.name, metric.name])[columns] for metric in metrics)
            rows.append([row.title, *itertools.chain.from_iterable(found)])
        lines += ["", *aligned(rows)]
    return "\n".join(lines) + "\n"


def _heads(metric: Metric) -> list[str]:
    title = f"{metric.title}, K = {metric.k}" if metric.k else metric.title
    return [title, "Δ", "Δ paper"]


def _cells(figure: Figure) -> list[str]:
    deviation = "" if math.isnan(figure.deviation) else f" ± {figure.deviation:.4f}"
    mean = _ABSENT if math.isnan(figure.mean) else f"{figure.mean:.4f}{deviation}"
    return [mean, _percent(figure.relative), _percent(figure.paper_relative)]


def _percent(share: float) -> str:
    # Added zero takes the sign from a zero.
    return _ABSENT if math.isnan(share) else f"{round(100 * share, 1) + 0.0:+.1f} %"


def aligned(rows: list[list[str]]) -> Iterator[str]:
    """A Markdown table; all columns but the first are aligned on the right."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in [rows[0], rule, *rows[1:]]:
        first, *others = zip(row, widths, strict=True)
        cells = [f"{first[0]:<{first[1]}}", *(f"{cell:>{width}}" for cell, width in others)]
        yield f"| {' | '.join(cells)} |"


def to_csv(table: Table, figures: Figures) -> str:
    """A row a cell, with the columns of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in table.rows:
        for metric in table.metrics:
            figure = figures[row.name, metric.name]
            numbers = (
                figure.mean,
                figure.deviation,
                figure.relative,
                figure.paper,
                figure.paper_relative,
            )
            writer.writerow(
                [
                    table.number,
                    row.name,
                    metric.name,
                    len(figure.values),
                    *("" if math.isnan(number) else number for number in numbers),
                ]
            )
    return text.getvalue()
