"""What is in the log: Figs. 1 to 3, from `analysis.json`."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cosernn_tf.schema import UNKNOWN
from experiments.reporting.document import (
    Block,
    Cell,
    Column,
    Figure,
    Kind,
    Missing,
    Panel,
    Section,
    Source,
    Table,
)
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.bars import Bar, Box, draw_bars, draw_boxes
from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.heat_map import draw_heat_map
from experiments.reporting.formats import counted, listed, percent
from experiments.reporting.inputs import Inputs
from experiments.reporting.sections.analysis_rows import Rows, by, estimate
from experiments.reporting.sections.skips import correlation_figure, curve_figure
from experiments.reporting.words import capital

_DIMENSIONS: Final = {
    "day": "day of the week",
    "period": "period of the day",
    "hour": "hour of the day",
    "device": "device",
}


def log_section(inputs: Inputs) -> Section:
    """Figures that there are; a sentence and a command for what there is not."""
    title = "What is in the log: Figs. 1 to 3"
    if inputs.analysis is None:
        sentence = "These sessions have not been analysed: Figs. 1 to 3 of the paper are missing."
        command = f"python -m cosernn_tf.analyze {inputs.at}"
        return Section("log", title, (), (Missing(sentence, command),))
    analysis, source = inputs.analysis.content, inputs.analysis.source
    coverage = analysis["coverage"]
    first = (
        f"{counted(coverage['sessions'], 'session')} of {counted(coverage['users'], 'user')}; of "
        f"their {coverage['listens']:,} listens kept, the first 10 of each session, "
        f"{percent(_share(coverage['listens_embedded'], coverage['listens']))} have a track "
        f"embedding and {percent(_share(coverage['listens_skipped'], coverage['listens']))} were "
        "skipped."
    )
    blocks: list[Block] = []
    for name, make in _FIGURES.items():
        figure = make(analysis["tables"].get(name, {}).get("rows", []), source)
        if figure is not None and figure.panels:
            blocks.append(figure)
    return Section("log", title, (first, *analysis["notes"]), tuple(blocks))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _shares(rows: Rows, source: Source) -> Figure:
    name, panels = "contexts", []
    says = []
    for dimension, group in by(rows, "dimension"):
        if [row["context"] for row in group] == [UNKNOWN]:
            continue  # a note says so
        what = _DIMENSIONS[dimension]
        most = max(group, key=lambda row: row["session_share"])
        sentence = (
            f"the most frequent {what} is {most['context']}, with "
            f"{percent(most['session_share'])} of the sessions"
        )
        if dimension in ("period", "device"):
            says.append(sentence)
        for column, of in (("session_share", "sessions"), ("user_share", "users")):
            title = f"{capital(of)} by {what}"
            bars = [
                Bar(row["context"], row[column], row[f"{column}_low"], row[f"{column}_high"])
                for row in group
            ]
            axis = Axis(
                "share of all sessions" if of == "sessions" else "users with a session there",
                is_percent=True,
                has_zero=True,
            )
            words = Words(f"{name}-{dimension}-{of}", title, f"{capital(sentence)}.")
            panels.append(Panel(title, draw_bars(bars, axis, words)))
    table = Table(
        name,
        "Fig. 1: sessions and users by context",
        (
            Column("context", "Context"),
            Column("dimension", "Of"),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("session_share", "Of all", Kind.PERCENT, decimals=1, parts=("low", "high")),
            Column("users", "Users with one", Kind.COUNT),
            Column("user_share", "Of all", Kind.PERCENT, decimals=1, parts=("low", "high")),
        ),
        tuple(
            (
                row["context"],
                _DIMENSIONS[row["dimension"]],
                row["sessions"],
                estimate(row, "session_share"),
                row["users"],
                estimate(row, "user_share"),
            )
            for row in rows
        ),
        (source,),
    )
    return Figure(
        "Fig. 1: when and on what people listen",
        table,
        tuple(panels),
        says=(f"{capital(listed(says))}.",) if says else (),
        reading="Thin lines are 95 % intervals with users as clusters.",
    )


def _similarity(rows: Rows, source: Source) -> Figure:
    name, panels, says = "variety", [], []
    for dimension, group in by(rows, "dimension"):
        drawn = [row for row in group if row["p50"] is not None and row["mean"] is not None]
        what = _DIMENSIONS[dimension]
        boxes = [
            Box(
                row["context"],
                (row["p05"], row["p25"], row["p50"], row["p75"], row["p95"]),
                row["mean"],
            )
            for row in drawn
        ]
        if not boxes:
            continue
        top = max(drawn, key=lambda row: row["mean"])
        bottom = min(drawn, key=lambda row: row["mean"])
        sentence = (
            f"by {what}, tracks are most alike in {top['context']} (mean similarity "
            f"{top['mean']:.3f}) and least in {bottom['context']} ({bottom['mean']:.3f})"
        )
        says.append(sentence)
        title = f"By {what}"
        words = Words(f"{name}-{dimension}", f"Similarity of tracks by {what}", sentence)
        axis = Axis("cosine of two tracks")
        panels.append(Panel(title, draw_boxes(boxes, axis, words)))
    ends = ("low", "high")
    table = Table(
        name,
        "Fig. 2a: similarity of the tracks of a context, pair by pair",
        (
            Column("context", "Context"),
            Column("dimension", "Of"),
            Column("listens", "Listens", Kind.COUNT),
            Column("users", "Users", Kind.COUNT),
            Column("mean", "Mean", Kind.NUMBER, parts=ends),
            Column("difference", "From the most frequent context", Kind.SIGNED, parts=ends),
            *(
                Column(p, f"{int(p[1:])} %", Kind.NUMBER, decimals=3, group="Quantiles")
                for p in ("p05", "p25", "p50", "p75", "p95")
            ),
        ),
        tuple(
            (
                row["context"],
                _DIMENSIONS[row["dimension"]],
                row["listens"],
                row["users"],
                estimate(row, "mean"),
                estimate(row, "difference"),
                *(row[p] for p in ("p05", "p25", "p50", "p75", "p95")),
            )
            for row in rows
        ),
        (source,),
    )
    return Figure(
        "Fig. 2a: how varied a context is",
        table,
        tuple(panels),
        says=(f"{capital('; '.join(says))}.",) if says else (),
        reading=(
            "Boxes hold the middle half of all pairs of tracks, lines reach from 5 to 95 %; the "
            "bar in a box is the median, the diamond the mean. The further right, the more alike."
        ),
    )


def _nearest(rows: Rows, source: Source) -> Figure:
    name, panels, says = "nearest", [], []
    for dimension, group in by(rows, "dimension"):
        what = _DIMENSIONS[dimension]
        values = {
            (row["source"], row["target"]): row["excess"]
            for row in group
            if row["excess"] is not None
        }
        if not values:
            continue
        sources = list(dict.fromkeys(row["source"] for row in group))
        targets = list(dict.fromkeys(row["target"] for row in group))
        same = [values[s, s] for s in sources if (s, s) in values]
        sentence = (
            f"by {what}, the nearest session is of the same context more often than by chance in "
            f"{sum(value > 0 for value in same)} of {len(same)} contexts"
        )
        says.append(sentence)
        title = f"By {what}"
        words = Words(f"{name}-{dimension}", f"Context of the nearest session, by {what}", sentence)
        axes = ("session in", "nearest in")
        panels.append(Panel(title, draw_heat_map(sources, targets, values, words, axes=axes)))
    table = Table(
        name,
        "Fig. 3: in which context the nearest session is",
        (
            Column("source", "Session in"),
            Column("target", "Nearest in"),
            Column("dimension", "Of"),
            Column("sources", "Sessions", Kind.COUNT),
            Column("observed", "Observed", Kind.PERCENT, decimals=1),
            Column("by_chance", "By chance", Kind.PERCENT, decimals=1),
            Column("excess", "More than by chance", Kind.CHANGE, decimals=1, parts=("low", "high")),
        ),
        tuple(_nearest_row(row) for row in rows),
        (source,),
    )
    return Figure(
        "Fig. 3: the context of the nearest session",
        table,
        tuple(panels),
        says=(f"{capital('; '.join(says))}.",) if says else (),
        reading=(
            "Of the sessions of a row, how many percentage points more have their nearest session "
            "of the same user in the column's context than if contexts did not matter."
        ),
    )


def _nearest_row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    return (
        row["source"],
        row["target"],
        _DIMENSIONS[row["dimension"]],
        row["sources"],
        row["observed"],
        row["by_chance"],
        estimate(row, "excess"),
    )


_FIGURES: Final[Mapping[str, Callable[[Rows, Source], Figure | None]]] = {
    "context_shares": _shares,
    "context_similarity": _similarity,
    "skip_correlation": correlation_figure,
    "skip_curve": curve_figure,
    "nearest_sessions": _nearest,
}
