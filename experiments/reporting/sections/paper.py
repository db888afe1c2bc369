"""Tables 2 to 5 of `experiments.table`, beside the paper's relative figures."""

from collections.abc import Mapping, Sequence

from cosernn_tf.evaluation.heuristics import ORACLES
from cosernn_tf.evaluation.metrics import METRICS, Metric
from experiments.reporting.document import (
    Block,
    Cell,
    Column,
    Estimate,
    Kind,
    Missing,
    Section,
    Table,
)
from experiments.reporting.formats import counted, listed
from experiments.reporting.inputs import Inputs, MadeTable
from experiments.reporting.words import capital, metric_title
from experiments.tables import REFERENCE, TABLES


def paper_section(inputs: Inputs) -> Section:
    """Every table that was made; a command for each that was not."""
    blocks: list[Block] = [_table(made) for made in inputs.tables.values()]
    missing = [number for number in TABLES if number not in inputs.tables]
    if missing:
        names = listed([f"Table {number} ({TABLES[number].caption})" for number in missing])
        verb = "has" if len(missing) == 1 else "have"
        blocks.append(
            Missing(
                f"{names} {verb} not been made of these sessions.",
                f"python -m experiments.table {inputs.at} --table={missing[0]} --seeds=1,2,3",
            )
        )
    paragraphs = (
        "Each table trains and evaluates its own rows. Δ is the difference from the row of "
        "CoSeRNN, in percent of it, here and in the paper. The data are others: compare signs and "
        "order, not sizes.",
    )
    return Section("paper", "The paper's tables, redone", paragraphs, tuple(blocks))


def _table(made: MadeTable) -> Table:
    table = TABLES[made.number]
    titles = {row.name: row.title for row in table.rows}
    cells = {(row["row"], row["metric"]): row for row in made.rows}
    names = list(dict.fromkeys(row["row"] for row in made.rows))
    metrics = [m for m in METRICS if any((name, m.name) in cells for name in names)]
    has_paper = any(row["paper"] for row in made.rows)
    columns = [Column("row", table.head), Column("seeds", "Seeds", Kind.COUNT)]
    for metric in metrics:
        group = capital(metric_title(metric))
        columns.append(Column(metric.name, "Mean", Kind.NUMBER, group=group, parts=("deviation",)))
        columns.append(Column(f"{metric.name}_relative", "Δ", Kind.CHANGE, 1, group=group))
        if has_paper:
            name = f"{metric.name}_paper_relative"
            columns.append(Column(name, "Δ paper", Kind.CHANGE, 1, group=group))
    rows = []
    for name in names:
        row: list[Cell] = [titles.get(name, name), _whole(cells[name, metrics[0].name]["seeds"])]
        for metric in metrics:
            cell = cells[name, metric.name]
            mean, deviation = _number(cell["mean"]), _number(cell["deviation"])
            row.append(None if mean is None else Estimate(mean, deviation=deviation))
            row.append(_number(cell["relative"]))
            if has_paper:
                row.append(_number(cell["paper_relative"]))
        rows.append(tuple(row))
    split = made.content["provenance"]["evaluation"]["split"]
    notes = [
        f"{split.capitalize()} split, {counted(made.content['sessions'], 'session')} of "
        f"{counted(made.content['users'], 'user')}; mean ± standard deviation over seeds."
    ]
    if has_paper and REFERENCE in names:
        same = _same(cells, names, metrics)
        notes += [
            f"The figures of {listed([titles.get(name, name) for name in alike])} are the same "
            "here: nothing in this log tells them apart, and only the first is counted below."
            for alike in same
        ]
        uncounted = {REFERENCE, *ORACLES, *(name for alike in same for name in alike[1:])}
        notes.append(_agreement(cells, [name for name in names if name not in uncounted]))
        if not ORACLES.keys().isdisjoint(names):
            notes.append("Oracles are not counted: nothing is learnt for them.")
    return Table(
        f"paper_table{made.number}",
        f"Table {made.number}{' beside the paper' * has_paper}: {table.caption}",
        tuple(columns),
        tuple(rows),
        (made.source,),
        notes=tuple(notes),
    )


def _same(
    cells: Mapping[tuple[str, str], Mapping[str, str]],
    names: Sequence[str],
    metrics: Sequence[Metric],
) -> list[list[str]]:
    """Rows that agree in every figure: what they differ by is not in the log."""
    by_figures: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        figures = tuple(cells[name, metric.name]["mean"] for metric in metrics)
        by_figures.setdefault(figures, []).append(name)
    return [alike for alike in by_figures.values() if len(alike) > 1]


def _agreement(cells: Mapping[tuple[str, str], Mapping[str, str]], names: Sequence[str]) -> str:
    """In how many cells of these rows the sign of Δ is the paper's."""
    by_metric: dict[str, list[bool]] = {}
    for (name, metric), cell in cells.items():
        here, there = _number(cell["relative"]), _number(cell["paper_relative"])
        if name in names and here and there:
            by_metric.setdefault(metric, []).append((here > 0) == (there > 0))
    found = [same for of_metric in by_metric.values() for same in of_metric]
    titles = {metric.name: metric_title(metric) for metric in METRICS}
    full = [titles[metric] for metric, same in by_metric.items() if all(same)]
    text = f"Δ has the paper's sign in {sum(found)} of {len(found)} cells"
    return f"{text}, in all of {listed(full)}." if full else f"{text}."


def _number(text: str) -> float | None:
    return float(text) if text else None


def _whole(text: str) -> int | None:
    return int(text) if text else None
