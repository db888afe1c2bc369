"""Fig. 2b: skip rate against similarity."""

from typing import Final

from experiments.reporting.document import Column, Figure, Kind, Panel, Source, Table
from experiments.reporting.drawing.axes import Axis
from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.lines import Line, Place, draw_lines
from experiments.reporting.formats import counted, percent, signed
from experiments.reporting.palette import PLAIN, SHAPES, Look
from experiments.reporting.sections.analysis_rows import Rows, by, estimate

_SHOWN: Final = (0, 1, 4, 7)
"""Minimum numbers of skips whose curves are drawn."""
_LEAST_SESSIONS: Final = 30
"""Of a bin that is drawn."""


def correlation_figure(rows: Rows, source: Source) -> Figure | None:
    """By minimum number of skips; None if it is never defined."""
    name = "skips"
    known = [row for row in rows if row["correlation"] is not None]
    if not known:
        return None
    places = tuple(
        Place(row["min_skips"], row["correlation"], row["correlation_low"], row["correlation_high"])
        for row in known
    )
    slopes = tuple(
        Place(row["min_skips"], row["slope"], row["slope_low"], row["slope_high"])
        for row in known
        if row["slope"] is not None
    )
    x_axis = Axis("at least so many skips in the session", is_whole=True)
    first, last = known[0], known[-1]
    text = (
        f"The correlation of skip rate and similarity is {signed(first['correlation'], 3)} over "
        f"{_sessions(first['min_skips'])}, and {signed(last['correlation'], 3)} over "
        f"{_sessions(last['min_skips'])}."
    )
    panels = (
        Panel(
            "Pearson correlation",
            draw_lines(
                [Line("", PLAIN, places)],
                x_axis,
                Axis("correlation", has_zero=True),
                Words(f"{name}-correlation", "Correlation of skip rate and similarity", text),
            ),
        ),
        Panel(
            "Slope",
            draw_lines(
                [Line("", Look(2, "square"), slopes)],
                x_axis,
                Axis("change of the skip rate for 1 of cosine", has_zero=True),
                Words(f"{name}-slope", "Slope of skip rate over similarity", text),
            ),
        ),
    )
    ends = ("low", "high")
    table = Table(
        name,
        "Fig. 2b: skip rate against the similarity of a session to the ones before",
        (
            Column("min_skips", "At least so many skips", Kind.COUNT),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("users", "Users", Kind.COUNT),
            Column("correlation", "Correlation", Kind.SIGNED, decimals=3, parts=ends),
            Column("slope", "Slope", Kind.SIGNED, decimals=3, parts=ends),
        ),
        tuple(
            (
                row["min_skips"],
                row["sessions"],
                row["users"],
                estimate(row, "correlation"),
                estimate(row, "slope"),
            )
            for row in rows
        ),
        (source,),
    )
    return Figure(
        "Fig. 2b: how skips go with similarity",
        table,
        panels,
        says=(text,),
        reading="Bands are 95 % intervals with users as clusters.",
    )


def _sessions(min_skips: int) -> str:
    if not min_skips:
        return "all sessions"
    return f"those with at least {counted(min_skips, 'skip')}"


def curve_figure(rows: Rows, source: Source) -> Figure | None:
    """Skip rate by cosine, binned; None without sessions or skips."""
    name = "skip_curve"
    if not any(row["skip_rate"] for row in rows):
        return None  # a note says so
    lines, ends = [], []
    for min_skips, group in by(rows, "min_skips"):
        if min_skips not in _SHOWN:
            continue
        place = _SHOWN.index(min_skips)
        places = tuple(
            Place(
                (row["cosine_from"] + row["cosine_to"]) / 2,
                row["skip_rate"],
                row["skip_rate_low"],
                row["skip_rate_high"],
            )
            for row in group
            if row["skip_rate"] is not None and row["sessions"] >= _LEAST_SESSIONS
        )
        if places:
            label = f"from {counted(min_skips, 'skip')} on" if min_skips else "all sessions"
            lines.append(Line(label, Look(place + 1, SHAPES[place]), places))
            ends.append(f"{label} {percent(places[0].y)} and {percent(places[-1].y)}")
    if not lines:
        return None
    text = f"Skip rate at the lowest and at the highest similarity: {'; '.join(ends)}."
    x_axis = Axis("cosine of the session with the mean of the earlier ones")
    drawing = draw_lines(
        lines,
        x_axis,
        Axis("skip rate", is_percent=True, has_zero=True),
        Words(name, "Skip rate by similarity", text),
    )
    table = Table(
        name,
        "Fig. 2b: skip rate by similarity",
        (
            Column("min_skips", "At least so many skips", Kind.COUNT),
            Column("cosine_from", "Cosine from", Kind.NUMBER, decimals=2),
            Column("cosine_to", "To", Kind.NUMBER, decimals=2),
            Column("sessions", "Sessions", Kind.COUNT),
            Column("users", "Users", Kind.COUNT),
            Column("skip_rate", "Skip rate", Kind.PERCENT, decimals=1, parts=("low", "high")),
        ),
        tuple(
            (
                row["min_skips"],
                row["cosine_from"],
                row["cosine_to"],
                row["sessions"],
                row["users"],
                estimate(row, "skip_rate"),
            )
            for row in rows
        ),
        (source,),
    )
    return Figure(
        "Fig. 2b: skip rate by similarity",
        table,
        (Panel("Skip rate", drawing),),
        says=(text,),
        reading=(
            f"Points are bins of cosine with at least {_LEAST_SESSIONS} sessions, bands 95 % "
            "intervals with users as clusters."
        ),
        is_wide=True,
    )
