"""How the models learnt: validation by epoch, and the attention on the offset."""

import statistics
from collections.abc import Mapping
from typing import Any, Final

from experiments.reporting.costs import Run
from experiments.reporting.document import Cell, Column, Figure, Kind, Panel, Section, Table
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.lines import Line, Place, draw_lines
from experiments.reporting.formats import counted, listed
from experiments.reporting.palette import Look
from experiments.reporting.report_data import Evaluated
from experiments.reporting.words import quoted

_EPOCH: Final = Axis("epoch", is_whole=True)
_RANKING: Final = "ranking"
"""Of `--best_by`."""


def training_section(evaluated: Evaluated) -> Section | None:
    """None if no run has a history."""
    if not evaluated.costs:
        return None
    figures = [_learning(evaluated)]
    attention = _attention(evaluated)
    if attention is not None:
        figures.append(attention)
    return Section("training", "How they learnt", (), tuple(figures))


def _learning(evaluated: Evaluated) -> Figure:
    name = "learning"
    rows: list[tuple[Cell, ...]] = []
    panels = []
    late: list[str] = []
    cosines = [
        epoch[field]
        for cost in evaluated.costs.values()
        for run in cost.runs
        for epoch in run.history
        for field in ("train_cosine", "validation_cosine")
    ]
    in_view = (min(cosines), max(cosines))
    for model, cost in evaluated.costs.items():
        title, look = evaluated.comparison.by_name[model].title, evaluated.looks[model]
        lines = []
        for number, run in enumerate(cost.runs):
            best = run.best["epoch"]
            is_last = number == len(cost.runs) - 1
            lines += [
                _line("validation" if is_last else "", look, run, "validation_cosine", {best}),
                _line("training" if is_last else "", look, run, "train_cosine", set()),
            ]
            rows += [
                (
                    title,
                    run.name,
                    epoch["epoch"],
                    epoch["train_loss"],
                    epoch["train_cosine"],
                    epoch["validation_cosine"],
                    "kept" if epoch["epoch"] == best else "",
                )
                for epoch in run.history
            ]
        if all(run.best is run.history[-1] for run in cost.runs):
            late.append(title)
        kept = listed([str(run.best["epoch"]) for run in cost.runs])
        words = Words(
            f"{name}-{model}",
            f"Cosine of {title} by epoch",
            f"{counted(len(cost.runs), 'seed')}; kept epoch {kept}, validation cosine "
            + listed([f"{run.best['validation_cosine']:.4f}" for run in cost.runs])
            + ".",
        )
        panels.append(Panel(title, draw_lines(lines, _EPOCH, Axis("cosine"), words, also=in_view)))
    columns = (
        Column("model", "Model"),
        Column("run", "Run"),
        Column("epoch", "Epoch", Kind.COUNT),
        Column("train_loss", "Training loss", Kind.NUMBER),
        Column("train_cosine", "Training cosine", Kind.NUMBER),
        Column("validation_cosine", "Validation cosine", Kind.NUMBER),
        Column("kept", "Kept"),
    )
    says = []
    if late:
        says.append(
            f"The last epoch of {listed(late)} is the one that was kept: more epochs may be better."
        )
    return Figure(
        "Cosine by epoch",
        Table(name, "Every epoch", columns, tuple(rows), _sources(evaluated)),
        tuple(panels),
        says=tuple(says),
        reading=(
            "Full lines: validation split; dashed: training split. One line per seed; the mark is "
            "the epoch that was kept. Validation that falls while training rises is overfitting."
            + _says_kept(evaluated)
        ),
    )


def _says_kept(evaluated: Evaluated) -> str:
    """Of which models the mark is not at the highest cosine, and why."""
    titles = [
        quoted(evaluated.comparison.by_name[model])
        for model, cost in evaluated.costs.items()
        if any(run.best_by == _RANKING for run in cost.runs)
    ]
    if not titles:
        return ""
    return (
        f" Of {listed(titles)} that is the epoch which ranked best on the validation split "
        "(--best_by=ranking), not that of the best cosine."
    )


def _line(label: str, look: Look, run: Run, field: str, marked: set[int]) -> Line:
    places = tuple(Place(e["epoch"], e[field]) for e in run.history if e[field] is not None)
    is_dashed = field.startswith("train")
    return Line(label, look, places, is_dashed=is_dashed, marked=tuple(marked))


def _attention(evaluated: Evaluated) -> Figure | None:
    """Mean β̂ of the validation sessions, of models that have one."""
    name = "attention"
    rows: list[tuple[Cell, ...]] = []
    panels = []
    kept: dict[str, list[float]] = {}
    for model, cost in evaluated.costs.items():
        runs = [run for run in cost.runs if _has_attention(run.history[-1])]
        if not runs:
            continue
        title, look = evaluated.comparison.by_name[model].title, evaluated.looks[model]
        lines = []
        for run in runs:
            marked = {run.best["epoch"]}
            lines.append(_line("", look, run, "validation_attention", marked))
            rows += [
                (title, run.name, epoch["epoch"], epoch["validation_attention"])
                for epoch in run.history
            ]
        kept[title] = [run.best["validation_attention"] for run in runs]
        words = Words(
            f"{name}-{model}",
            f"Attention on the offset of {title} by epoch",
            f"At the kept epoch: {listed([f'{value:.2f}' for value in kept[title]])}.",
        )
        drawing = draw_lines(lines, _EPOCH, Axis("mean β̂"), words, also=(0.0, 1.0))
        panels.append(Panel(title, drawing))
    if not panels:
        return None
    means = {title: statistics.fmean(values) for title, values in kept.items()}
    least, most = (choose(means, key=lambda title: means[title]) for choose in (min, max))
    says = f"At the kept epoch it is {means[least]:.2f} in {least}"
    if least != most:
        says = f"At the kept epoch it is from {means[least]:.2f} ({least}) to "
        says += f"{means[most]:.2f} ({most})"
    return Figure(
        "Attention on the offset, by epoch",
        Table(
            name,
            "Mean attention on the offset (β̂) over validation sessions",
            (
                Column("model", "Model"),
                Column("run", "Run"),
                Column("epoch", "Epoch", Kind.COUNT),
                Column("attention", "Mean β̂", Kind.NUMBER),
            ),
            tuple(rows),
            _sources(evaluated),
        ),
        tuple(panels),
        says=(f"{says}.",),
        reading=(
            "Near 0 the model repeats the long-term embedding, near 1 it does without: at either "
            "end half of the model is not used. One line per seed; the mark is the epoch that was "
            "kept."
        ),
    )


def _has_attention(epoch: Mapping[str, Any]) -> bool:
    return epoch["validation_attention"] is not None


def _sources(evaluated: Evaluated) -> tuple[Any, ...]:
    return tuple(run.source for cost in evaluated.costs.values() for run in cost.runs)
