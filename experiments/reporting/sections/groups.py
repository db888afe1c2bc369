"""For whom and when a model is good: cold start, ageing, activity, age, and the worst group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosernn_tf.evaluation.breakdowns import MIN_USERS, break_down, worst_groups
from cosernn_tf.evaluation.groups import (
    ACTIVITY,
    AGE,
    DAYS_SINCE_TRAINING,
    DEVICE,
    EARLIER_SESSIONS,
    PERIOD,
)
from cosernn_tf.evaluation.metrics import METRICS, Metric
from experiments.reporting.document import (
    Block,
    Column,
    Estimate,
    Figure,
    KeyEntry,
    Kind,
    Missing,
    Panel,
    Section,
    Table,
)
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Dot, DotRow, Words, draw_dots
from experiments.reporting.drawing.lines import Line, Place, draw_lines
from experiments.reporting.drawing.svg import key_mark
from experiments.reporting.formats import counted
from experiments.reporting.models import Model, range_of
from experiments.reporting.report_data import Evaluated
from experiments.reporting.sections.attention import attention_figure
from experiments.reporting.verdict import headline_metrics
from experiments.reporting.words import capital, metric_title, quoted

_TITLE: Final = "For whom and when"
_MOST_MODELS: Final = 4
_DIMENSIONS: Final = {
    EARLIER_SESSIONS: "earlier sessions of the user",
    DAYS_SINCE_TRAINING: "days since the end of training",
    ACTIVITY: "sessions of the user in training",
    AGE: "age of the user",
    PERIOD: "period of the day",
    DEVICE: "device",
}
_IN_ORDER: Final = (EARLIER_SESSIONS, ACTIVITY)
"""Of which one asks how it goes on, and not only how far it varies."""
_AS_LINES: Final = (EARLIER_SESSIONS, DAYS_SINCE_TRAINING)
_AS_DOTS: Final = (ACTIVITY, AGE)
"""Period and device are drawn as Fig. 5."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Broken:
    """Means by group of some models."""

    evaluated: Evaluated
    models: Sequence[Model]
    metrics: Sequence[Metric]
    rows: Sequence[Row]

    def of(self, dimension: str, metric: Metric) -> list[Row]:
        """Rows that are drawn: of groups with enough users."""
        return [
            row
            for row in self.rows
            if row["dimension"] == dimension
            and row["metric"] == metric.name
            and row["users"] >= MIN_USERS
        ]

    def title(self, model: str) -> str:
        return self.evaluated.comparison.by_name[model].title


def groups_section(evaluated: Evaluated, at: str) -> Section:
    """The breakdowns, or how to have them."""
    names = pq.read_schema(evaluated.grouped_scores).names
    if EARLIER_SESSIONS not in names:
        missing = Missing(
            "The evaluation is of an older version, and does not tell how much was known of users.",
            f"python -m cosernn_tf.evaluate {at}",
        )
        return Section("groups", _TITLE, (), (missing,))
    models, metrics = _models(evaluated), headline_metrics(evaluated.comparison)
    table = _read(evaluated, [model.name for model in models], names)
    end = evaluated.evaluation.content["provenance"]["boundaries"]["validation_start"]
    means = break_down(table, [metric.name for metric in metrics], training_end=end)
    broken = _Broken(evaluated, models, metrics, means.to_pylist())
    worst = worst_groups(means).to_pylist()
    paragraph = (
        "Means over the sessions of a group. A group may be harder to predict, for any model: "
        "compare how models differ in it. Lines and bands are 95 % intervals with users as "
        "clusters."
    )
    blocks: list[Block] = [_figure(broken, worst), _worst(broken, worst)]
    attention = attention_figure(evaluated)
    if attention is not None:
        blocks.append(attention)
    return Section("groups", _TITLE, (paragraph,), tuple(blocks))


def _models(evaluated: Evaluated) -> list[Model]:
    """The recommended one, what one would take instead, and the next ones."""
    verdict = evaluated.verdict
    wanted = [
        verdict.model,
        *verdict.alternatives,
        *(standing.model for standing in verdict.standings),
    ]
    found = {model.name: model for model in wanted}
    return list(found.values())[:_MOST_MODELS]


def _read(evaluated: Evaluated, models: Sequence[str], names: Sequence[str]) -> pa.Table:
    columns = [name for name in names if not name.startswith("catalogue_")]
    chosen = pc.field("model").isin(list(models))
    return pq.read_table(evaluated.grouped_scores, columns=columns, filters=chosen)


def _figure(broken: _Broken, worst: Sequence[Row]) -> Figure:
    name = "groups"
    panels = []
    drawings: Mapping[str, Callable[[_Broken, list[Row], Words, Metric], Any]] = {
        **dict.fromkeys(_AS_LINES, _lines),
        **dict.fromkeys(_AS_DOTS, _dots),
    }
    for dimension, draw in drawings.items():
        for metric in broken.metrics:
            rows = broken.of(dimension, metric)
            if len({row["group"] for row in rows}) < 2:
                continue
            title = f"{capital(metric_title(metric))} by {_DIMENSIONS[dimension]}"
            words = Words(f"{name}-{dimension}-{metric.name}", title, _ends(broken, rows))
            panels.append(Panel(title, draw(broken, rows, words, metric)))
    says = []
    for dimension in drawings:
        rows = broken.of(dimension, broken.metrics[0])
        if len({row["group"] for row in rows}) > 1:
            says.append(f"By {_DIMENSIONS[dimension]}: {_ends(broken, rows)}")
    says += _says_worst(broken, worst)
    return Figure(
        "Means by group of users and sessions",
        _table(broken),
        tuple(panels),
        says=tuple(says),
        reading=(
            "Groups by days are of whole days from the end of the training split; those of "
            "activity are quarters of the users who have sessions in it, and the users who have "
            f"none. Groups of fewer than {counted(MIN_USERS, 'user')} stand in the table only. "
            "Intervals much longer than the others are cut at the edge, and all where the metric "
            "ends."
        ),
        key=tuple(
            KeyEntry(model.title, key_mark(broken.evaluated.looks[model.name]))
            for model in broken.models
        ),
    )


def _ends(broken: _Broken, rows: Sequence[Row]) -> str:
    """What the recommended model has in the first and the last group, or in the extreme ones."""
    own = [row for row in rows if row["model"] == broken.models[0].name]
    if not own:
        return f"{quoted(broken.models[0])} is not scored."
    titles = {metric.name: metric_title(metric) for metric in broken.metrics}
    subject = f"{titles[own[0]['metric']]} of {quoted(broken.models[0])}"
    if own[0]["dimension"] in _IN_ORDER:
        first, last = own[0], own[-1]
        return (
            f"{subject} goes from {first['mean']:.4f} ({first['group']}) to {last['mean']:.4f} "
            f"({last['group']})."
        )
    least, most = (choose(own, key=lambda row: row["mean"]) for choose in (min, max))
    return (
        f"{subject} is between {least['mean']:.4f} ({least['group']}) and {most['mean']:.4f} "
        f"({most['group']})."
    )


def _says_worst(broken: _Broken, worst: Sequence[Row]) -> list[str]:
    """Whom the recommended model serves worst, by age, and whether that is more than chance."""
    model, metric = broken.models[0], broken.metrics[0]
    key = (AGE, model.name, metric.name)
    overall = next(
        (r["overall"] for r in worst if (r["dimension"], r["model"], r["metric"]) == key), None
    )
    rows = [row for row in broken.of(AGE, metric) if row["model"] == model.name]
    found = None if overall is None else served_worst(rows, overall, metric)
    if found is None:
        return []
    row, is_clear = found
    said = f"{row['mean']:.4f}, {row['low']:.4f} to {row['high']:.4f}, "
    said += counted(row["users"], "user")
    if is_clear:
        return [
            f"By age, {quoted(model)} serves those of {row['group']} worst: {metric_title(metric)} "
            f"{said}; of all {overall:.4f}."
        ]
    return [
        f"By age, no group is measurably worse served by {quoted(model)}: the mean of all, "
        f"{overall:.4f}, is in the interval of each that is below it, also of the worst, "
        f"{row['group']} ({said})."
    ]


def served_worst(rows: Sequence[Row], overall: float, metric: Metric) -> tuple[Row, bool] | None:
    """The group with the worst mean of those whose interval leaves out the mean of all.

    Args:
        rows: Of a dimension, model and metric.
        overall: The mean over the sessions of all groups.
        metric: Whether more is better.

    Returns:
        The group's row and True; if there is no such group, the worst of those that have an
        interval, and False. None if none has one, or the worst is no worse than all together.
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    known = [r for r in rows if r["low"] is not None and sign * (r["mean"] - overall) < 0]
    better_end = "high" if metric.higher_is_better else "low"
    clear = [row for row in known if sign * (row[better_end] - overall) < 0]
    if not known:
        return None
    return min(clear or known, key=lambda row: sign * row["mean"]), bool(clear)


def _lines(broken: _Broken, rows: list[Row], words: Words, metric: Metric) -> Any:
    groups = list(dict.fromkeys(row["group"] for row in rows))
    lines = []
    for model in broken.models:
        places = tuple(
            Place(groups.index(row["group"]), row["mean"], row["low"], row["high"])
            for row in rows
            if row["model"] == model.name
        )
        look = broken.evaluated.looks[model.name]
        lines.append(Line("", look, tuple(sorted(places, key=lambda place: place.x))))

    def name(value: float) -> str:
        place = round(value)
        return groups[place] if 0 <= place < len(groups) else ""

    axis = Axis(_DIMENSIONS[rows[0]["dimension"]], is_whole=True, name_tick=name)
    least, most = range_of(metric)
    return draw_lines(
        lines, axis, Axis(metric_title(metric), least=least, most=most, cuts_long=True), words
    )


def _dots(broken: _Broken, rows: list[Row], words: Words, metric: Metric) -> Any:
    found = {(row["group"], row["model"]): row for row in rows}
    drawn = []
    for group in dict.fromkeys(row["group"] for row in rows):
        dots = tuple(
            Dot(broken.evaluated.looks[model.name], row["mean"], row["low"], row["high"])
            for model in broken.models
            if (row := found.get((group, model.name))) is not None
        )
        drawn.append(DotRow(group, dots))
    least, most = range_of(metric)
    axis = Axis(f"mean {metric_title(metric)}", least=least, most=most, cuts_long=True)
    return draw_dots(drawn, axis, words)


def _table(broken: _Broken) -> Table:
    titles = {metric.name: metric_title(metric) for metric in METRICS}
    return Table(
        "groups",
        "Means by group",
        (
            Column("group", "Group"),
            Column("dimension", "By"),
            Column("model", "Model"),
            Column("metric", "Metric"),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("users", "Users", Kind.COUNT),
            Column("mean", "Mean", Kind.NUMBER, parts=("low", "high")),
        ),
        tuple(
            (
                row["group"],
                _DIMENSIONS[row["dimension"]],
                broken.title(row["model"]),
                titles[row["metric"]],
                row["sessions"],
                row["users"],
                _estimate(row),
            )
            for row in broken.rows
        ),
        (broken.evaluated.evaluation.scores,),
    )


def _estimate(row: Row) -> Estimate | None:
    if row["mean"] is None:
        return None
    return Estimate(row["mean"], low=row["low"], high=row["high"])


def _worst(broken: _Broken, rows: Sequence[Row]) -> Table:
    titles = {metric.name: metric_title(metric) for metric in METRICS}
    return Table(
        "worst_groups",
        "The group that is served worst",
        (
            Column("dimension", "By"),
            Column("model", "Model"),
            Column("metric", "Metric"),
            Column("group", "Worst group"),
            Column("users", "Its users", Kind.COUNT),
            Column("mean", "Its mean", Kind.NUMBER, parts=("low", "high")),
            Column("overall", "Mean of all", Kind.NUMBER),
            Column("gap", "Worse by", Kind.NUMBER),
        ),
        tuple(
            (
                _DIMENSIONS[row["dimension"]],
                broken.title(row["model"]),
                titles[row["metric"]],
                row["group"],
                row["users"],
                _estimate(row),
                row["overall"],
                row["gap"],
            )
            for row in rows
        ),
        (broken.evaluated.evaluation.scores,),
        notes=(
            f"Of groups of at least {counted(MIN_USERS, 'user')}. The worst of several groups is "
            "below the mean by chance, too: look at its interval.",
        ),
        is_folded=True,
    )
