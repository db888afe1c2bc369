"""Bars from zero with intervals, and boxes with whiskers: a row a context."""

from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from experiments.reporting.drawing.axes import Axis, draw_x_axis, scale_of
from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.svg import WIDTH, Drawing, shortened, width_of

_TOP: Final = 6
_BELOW: Final = 38
_RIGHT: Final = WIDTH - 12
_ROW: Final = 20
_HALF: Final = 6
_WIDEST_LABEL: Final = 130


@dataclass(frozen=True)
class Bar:
    """A share of a context, and its interval."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None


def draw_bars(bars: list[Bar], axis: Axis, words: Words) -> Markup:
    """Bars from top to bottom in the order given."""
    left, drawing, bottom = _begin([bar.label for bar in bars], words)
    values = [0.0, *(value for bar in bars for value in (bar.value, bar.low, bar.high))]
    scale = scale_of(values, axis, start=left, end=_RIGHT, ends_at=0.0)
    draw_x_axis(drawing, scale, axis, top=_TOP, bottom=bottom)
    for place, bar in enumerate(bars):
        middle = _TOP + (place + 0.5) * _ROW
        width = max(scale(bar.value) - left, 0.0)
        drawing.rectangle((left, middle - _HALF), (width, 2 * _HALF), "bar c1")
        if bar.low is not None and bar.high is not None:
            ends = scale(max(bar.low, scale.low)), scale(bar.high)
            drawing.line((ends[0], middle), (ends[1], middle), "range ink")
    return drawing.to_svg()


@dataclass(frozen=True)
class Box:
    """Five quantiles and a mean of a context."""

    label: str
    quantiles: tuple[float, float, float, float, float]
    """5, 25, 50, 75 and 95 %."""
    mean: float


def draw_boxes(boxes: list[Box], axis: Axis, words: Words) -> Markup:
    """Boxes from top to bottom in the order given."""
    left, drawing, bottom = _begin([box.label for box in boxes], words)
    values = [value for box in boxes for value in (*box.quantiles, box.mean)]
    scale = scale_of(values, axis, start=left, end=_RIGHT)
    draw_x_axis(drawing, scale, axis, top=_TOP, bottom=bottom)
    for place, box in enumerate(boxes):
        middle = _TOP + (place + 0.5) * _ROW
        least, lower, median, upper, most = map(scale, box.quantiles)
        drawing.line((least, middle), (most, middle), "range c1")
        drawing.rectangle((lower, middle - _HALF), (upper - lower, 2 * _HALF), "box c1")
        drawing.line((median, middle - _HALF), (median, middle + _HALF), "median")
        x, size = scale(box.mean), 3.5
        outline = [(x, middle - size), (x + size, middle), (x, middle + size), (x - size, middle)]
        drawing.path(outline, "mean", is_closed=True)
    return drawing.to_svg()


def _begin(labels: list[str], words: Words) -> tuple[float, Drawing, float]:
    """Left end of the axis, a drawing with the labels, and where its rows end."""
    left = min(max(map(width_of, labels), default=0), _WIDEST_LABEL) + 10
    bottom = _TOP + _ROW * len(labels)
    drawing = Drawing(
        name=words.name, title=words.title, description=words.description, height=bottom + _BELOW
    )
    for place, label in enumerate(labels):
        y = _TOP + (place + 0.5) * _ROW + 4
        drawing.text((left - 8, y), shortened(label, _WIDEST_LABEL), "label", anchor="end")
    return left, drawing, bottom
