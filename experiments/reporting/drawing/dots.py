"""Rows of dots with their intervals: means, differences, groups."""

from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from experiments.reporting.drawing.axes import Axis, draw_x_axis, in_view, scale_of
from experiments.reporting.drawing.svg import WIDTH, Drawing, in_lines, width_of
from experiments.reporting.palette import Look

_TOP: Final = 6
_BELOW: Final = 38
_RIGHT: Final = WIDTH - 12
_ROW: Final = 22
_DODGE: Final = 12
_LINE: Final = 13
_WIDEST_LABEL: Final = 152


@dataclass(frozen=True)
class Dot:
    """A value and its interval."""

    look: Look
    value: float
    low: float | None = None
    high: float | None = None
    is_bold: bool = False


@dataclass(frozen=True)
class DotRow:
    """A label and its dots, one below the other; without any, it says so."""

    label: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Words:
    """What a drawing says of itself."""

    name: str
    """Of its ids."""
    title: str
    description: str


def draw_dots(rows: list[DotRow], axis: Axis, words: Words) -> Markup:
    """Rows from top to bottom in the order given."""
    labels = [in_lines(row.label, _WIDEST_LABEL) for row in rows]
    heights = [
        max(_ROW, _DODGE * len(row.dots) + 8, _LINE * len(lines) + 8)
        for row, lines in zip(rows, labels, strict=True)
    ]
    left = max((width_of(line) for lines in labels for line in lines), default=0) + 10
    bottom = _TOP + sum(heights)
    drawing = Drawing(
        name=words.name,
        title=words.title,
        description=words.description,
        height=bottom + _BELOW,
    )
    points = [(dot.value, dot.low, dot.high) for row in rows for dot in row.dots]
    scale = scale_of(in_view(points, axis), axis, start=left, end=_RIGHT)
    draw_x_axis(drawing, scale, axis, top=_TOP, bottom=bottom)
    top = float(_TOP)
    for row, lines, height in zip(rows, labels, heights, strict=True):
        middle = top + height / 2
        kind = "label bold" if any(dot.is_bold for dot in row.dots) else "label"
        for place, line in enumerate(lines):
            y = middle + 4 + (place - (len(lines) - 1) / 2) * _LINE
            drawing.text((left - 8, y), line, kind, anchor="end")
        for place, dot in enumerate(row.dots):
            y = middle + (place - (len(row.dots) - 1) / 2) * _DODGE
            if dot.low is not None and dot.high is not None:
                low, high = (scale(scale.within(axis.within(end))) for end in (dot.low, dot.high))
                drawing.line((low, y), (high, y), f"range c{dot.look.colour}")
            drawing.marker((scale(dot.value), y), dot.look)
        if not row.dots:
            drawing.text((left + 4, middle + 4), "not scored", "tick")
        top += height
    return drawing.to_svg()
