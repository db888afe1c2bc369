"""Fig. 5: by how much models improve on a reference, by period of the day and by device."""

from collections.abc import Sequence
from typing import Final

from cosernn_tf.analysis.contexts import DEVICE, PERIOD
from cosernn_tf.analysis.improvement import ANY, Improvement, improvements
from cosernn_tf.evaluation.metrics import COSINE, METRICS, Metric, ap, recall, session_rr
from cosernn_tf.evaluation.summary import Kind
from experiments.reporting.document import (
    Cell,
    Column,
    Estimate,
    Figure,
    KeyEntry,
    Panel,
    Section,
    Table,
)
from experiments.reporting.document import Kind as Cells
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Dot, DotRow, Words, draw_dots
from experiments.reporting.drawing.svg import key_mark
from experiments.reporting.formats import change, listed
from experiments.reporting.models import Model
from experiments.reporting.report_data import Evaluated, ReportData
from experiments.reporting.words import capital, metric_title, quoted

_METRICS: Final = (COSINE, session_rr(50), ap(100), recall(100))
"""Those of the paper's figure."""
_MOST_MODELS: Final = 4
_PREFERRED: Final = "jodie"
"""The paper's reference."""
_FALLBACK: Final = "avg_any"
_DIMENSIONS: Final = {PERIOD: "period of the day", DEVICE: "device"}


def contexts_section(data: ReportData, evaluated: Evaluated) -> Section | None:
    """None if there is no model to compare with the reference."""
    reference = _reference(evaluated)
    models = _models(evaluated, reference)
    if reference is None or not models:
        return None
    rows = improvements(
        evaluated.grouped_scores,
        models=[model.name for model in models],
        reference=reference.name,
        devices=data.inputs.sessions.devices,
    )
    figure = _figure(evaluated, rows, models, reference)
    return Section("contexts", "Fig. 5: where models are better", (), (figure,))


def _reference(evaluated: Evaluated) -> Model | None:
    trained = [m for m in evaluated.comparison.trained if m.name.split("-")[-1] == _PREFERRED]
    return trained[0] if trained else evaluated.comparison.by_name.get(_FALLBACK)


def _models(evaluated: Evaluated, reference: Model | None) -> list[Model]:
    """The best trained ones, in the order of the rule."""
    standings = evaluated.verdict.standings
    trained = [s.model for s in standings if s.model.kind is Kind.RUN]
    return [model for model in trained if model is not reference][:_MOST_MODELS]


def _figure(
    evaluated: Evaluated,
    rows: Sequence[Improvement],
    models: Sequence[Model],
    reference: Model,
) -> Figure:
    name = "improvement"
    panels = []
    for metric in (m for m in METRICS if m.name in _METRICS):
        for dimension, what in _DIMENSIONS.items():
            panel = [
                row
                for row in rows
                if row.metric == metric.name and row.dimension in (ANY, dimension)
            ]
            if any(row.dimension == dimension for row in panel):
                panels.append(
                    _panel(evaluated, panel, models, words=_words(name, metric, dimension, what))
                )
    overall = [row for row in rows if row.dimension == ANY and row.metric == _METRICS[0]]
    shares = [
        f"{quoted(evaluated.comparison.by_name[row.model])} {change(row.improvement)}"
        for row in overall
        if row.improvement is not None
    ]
    says = f"Cosine over all sessions, against that of {quoted(reference)}: {listed(shares)}"
    return Figure(
        f"Improvement over {quoted(reference)} by context",
        _table(evaluated, name, rows),
        tuple(panels),
        says=(f"{says}.",) if shares else (),
        reading=(
            f"Right of zero is better than {quoted(reference)}, in percent of its mean in that "
            "context. Lines are 95 % intervals with users as clusters."
            + (f" The {_MOST_MODELS} best trained models." if len(models) == _MOST_MODELS else "")
        ),
        key=tuple(KeyEntry(model.title, key_mark(evaluated.looks[model.name])) for model in models),
    )


def _words(name: str, metric: Metric, dimension: str, what: str) -> Words:
    title = f"{capital(metric_title(metric))} by {what}"
    return Words(f"{name}-{metric.name}-{dimension}", title, f"Improvement in {title}.")


def _panel(
    evaluated: Evaluated, rows: Sequence[Improvement], models: Sequence[Model], *, words: Words
) -> Panel:
    """A row a context, a dot a model."""
    contexts = list(dict.fromkeys(row.context for row in rows))
    found = {(row.context, row.model): row for row in rows}
    drawn = []
    for context in contexts:
        dots = []
        for model in models:
            row = found.get((context, model.name))
            if row is not None and row.improvement is not None:
                look = evaluated.looks[model.name]
                ends = row.improvement_low, row.improvement_high
                dots.append(Dot(look, row.improvement, *ends))
        drawn.append(DotRow("all sessions" if context == ANY else context, tuple(dots)))
    axis = Axis("improvement", is_percent=True, is_signed=True, has_zero=True)
    return Panel(words.title, draw_dots(drawn, axis, words))


def _table(evaluated: Evaluated, name: str, rows: Sequence[Improvement]) -> Table:
    titles = {model.name: model.title for model in evaluated.comparison.models}
    metrics = {metric.name: metric_title(metric) for metric in METRICS}
    ends = ("low", "high")
    cells: list[tuple[Cell, ...]] = [
        (
            titles[row.model],
            metrics[row.metric],
            row.dimension,
            row.context,
            row.sessions,
            row.users,
            row.model_mean,
            row.reference_mean,
            None
            if row.improvement is None
            else Estimate(row.improvement, low=row.improvement_low, high=row.improvement_high),
        )
        for row in rows
    ]
    return Table(
        name,
        f"Improvement over {titles[rows[0].reference]}",
        (
            Column("model", "Model"),
            Column("metric", "Metric"),
            Column("dimension", "By"),
            Column("context", "Context"),
            Column("sessions", "Sessions", Cells.COUNT),
            Column("users", "Users", Cells.COUNT),
            Column("mean", "Mean", Cells.NUMBER),
            Column("reference_mean", f"Mean of {titles[rows[0].reference]}", Cells.NUMBER),
            Column("improvement", "Improvement", Cells.CHANGE, 1, parts=ends),
        ),
        tuple(cells),
        (evaluated.evaluation.scores,),
    )
