"""Lines over epochs, cosines or days, each with its name at its end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from experiments.reporting.drawing.axes import (
    Axis,
    draw_x_axis,
    draw_y_axis,
    in_view,
    scale_of,
    spread,
)
from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.svg import LINE_HEIGHT, WIDTH, Drawing, shortened, width_of
from experiments.reporting.palette import Look

_TOP: Final = 24
_BOTTOM: Final = 206
_HEIGHT: Final = _BOTTOM + 38
_LEFT: Final = 50
_WIDEST_LABEL: Final = 112
_BOLD: Final = 1.12
"""How much wider bold text is."""
_MOST_MARKERS: Final = 30


@dataclass(frozen=True)
class Place:
    """A point of a line, and its interval."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """Points from left to right."""

    label: str
    """Stands at its end; empty: nothing does."""
    look: Look
    places: tuple[Place, ...]
    is_dashed: bool = False
    marked: tuple[float, ...] | None = None
    """Where markers are, by x; None: at each point, if they are not many."""


def draw_lines(
    lines: list[Line],
    x_axis: Axis,
    y_axis: Axis,
    words: Words,
    *,
    also: Sequence[float] = (),
) -> Markup:
    """Lines on common axes, with further heights in view, so that drawings can be compared."""
    labels = [line.label for line in lines if line.label and line.places]
    room = min(max((_BOLD * width_of(label) for label in labels), default=0), _WIDEST_LABEL)
    right = WIDTH - room - (16 if labels else 10)
    drawing = Drawing(
        name=words.name, title=words.title, description=words.description, height=_HEIGHT
    )
    places = [place for line in lines for place in line.places]
    x_scale = scale_of((p.x for p in places), x_axis, start=_LEFT, end=right)
    heights = [*also, *in_view([(p.y, p.low, p.high) for p in places], y_axis)]
    y_scale = scale_of(heights, y_axis, start=_BOTTOM, end=_TOP)

    def height(end: float) -> float:
        return y_scale(y_scale.within(y_axis.within(end)))

    draw_y_axis(drawing, y_scale, y_axis, left=_LEFT, right=right)
    draw_x_axis(drawing, x_scale, x_axis, top=_BOTTOM, bottom=_BOTTOM)
    for line in lines:
        colour = f"c{line.look.colour}"
        points = [(x_scale(p.x), y_scale(p.y)) for p in line.places]
        sure = [p for p in line.places if p.low is not None and p.high is not None]
        if len(sure) > 1:
            edge = [(x_scale(p.x), height(p.high)) for p in sure if p.high is not None]
            back = [(x_scale(p.x), height(p.low)) for p in reversed(sure) if p.low is not None]
            drawing.path(edge + back, f"band {colour}", is_closed=True)
        if len(points) > 1:
            drawing.path(points, f"line {colour}{' dashed' if line.is_dashed else ''}")
        for place, point in zip(line.places, points, strict=True):
            if _is_marked(line, place):
                drawing.marker(point, line.look)
    ends = [line for line in lines if line.label and line.places]
    wanted = [y_scale(line.places[-1].y) for line in ends]
    found = spread(wanted, least=LINE_HEIGHT - 2, low=_TOP + 4, high=_BOTTOM - 2)
    for line, y in zip(ends, found, strict=True):
        text = shortened(line.label, _WIDEST_LABEL / _BOLD)
        drawing.text((right + 10, y + 4), text, f"end c{line.look.colour}")
    return drawing.to_svg()


def _is_marked(line: Line, place: Place) -> bool:
    if line.marked is not None:
        return place.x in line.marked
    return len(line.places) <= _MOST_MARKERS
