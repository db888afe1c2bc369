"""Scales, and ticks at round numbers."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from experiments.reporting.drawing.svg import WIDTH, Drawing, shortened, width_of

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICK_GAP: Final = 6
_LONG: Final = 2
_ROOM: Final = 0.04
"""Beyond the outermost values, as a share of the way between them."""


@dataclass(frozen=True)
class Axis:
    """What is on an axis."""

    title: str
    """With the unit."""
    is_percent: bool = False
    """Values are shares, shown as percent."""
    is_signed: bool = False
    has_zero: bool = False
    """Zero is in view, whatever the values."""
    is_whole: bool = False
    """Ticks at whole numbers only."""
    name_tick: Callable[[float], str] | None = None
    least: float = -math.inf
    """Values below are not possible: what reaches there ends here."""
    most: float = math.inf
    cuts_long: bool = False
    """Intervals that are much longer than the others do not widen it."""

    def within(self, value: float) -> float:
        """The nearest possible value."""
        return min(max(value, self.least), self.most)


@dataclass(frozen=True)
class Scale:
    """Values in [low, high] to places in [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def within(self, value: float) -> float:
        """The nearest value in view."""
        return min(max(value, self.low), self.high)


def in_view(points: Sequence[tuple[float, float | None, float | None]], axis: Axis) -> list[float]:
    """Values that a scale has to show, of points with the ends of their intervals.

    All of them; of an axis that cuts long intervals, ends no further from the outermost points than
    twice the median interval is long.
    """
    values = [value for value, _, _ in points]
    ends = [end for _, low, high in points for end in (low, high) if end is not None]
    lengths = [high - low for _, low, high in points if low is not None and high is not None]
    if axis.cuts_long and lengths:
        room = _LONG * statistics.median(lengths)
        least, most = min(values) - room, max(values) + room
        ends = [min(max(end, least), most) for end in ends]
    return [*values, *ends]


def scale_of(
    values: Iterable[float | None],
    axis: Axis,
    *,
    start: float,
    end: float,
    ends_at: float | None = None,
) -> Scale:
    """A scale that has all values in view.

    Args:
        values: None does not count.
        axis: Says whether zero is in view.
        start: Place of the lowest value.
        end: Of the highest.
        ends_at: The lowest value stands at the axis' end itself, such as the zero of bars.
    """
    known = [axis.within(v) for v in values if v is not None and math.isfinite(v)]
    if axis.has_zero or not known:
        known.append(0.0)
    low, high = min(known), max(known)
    if low == high:
        room = abs(low) * 0.1 or 1.0
        low, high = low - room, high + room
    room = _ROOM * (high - low)
    if low != ends_at:
        low -= room
    return Scale(low, high + room, start, end)


def ticks(scale: Scale, axis: Axis, *, most: int) -> list[tuple[float, str]]:
    """At most so many round values in view, and what stands at each."""
    factor = 100.0 if axis.is_percent else 1.0
    low, high = scale.low * factor, scale.high * factor
    span = high - low
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(s for s in _STEPS if span / (step * s) <= most)
    if axis.is_whole:
        step = max(math.ceil(step), 1.0)
    first = math.ceil(low / step - 1e-9)
    places = [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step, decimals) != step:
        decimals += 1
    name = axis.name_tick or (lambda value: _tick(value, decimals, axis))
    return [(value / factor, name(value)) for value in places]


def _tick(value: float, decimals: int, axis: Axis) -> str:
    value = round(value, decimals) + 0.0
    text = f"{value:+,.{decimals}f}" if axis.is_signed and value else f"{value:,.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}") + (" %" if axis.is_percent else "")


def draw_x_axis(
    drawing: Drawing, scale: Scale, axis: Axis, *, top: float, bottom: float, most: int = 5
) -> None:
    """Grid lines from top to bottom, what stands below them, and the title: 34 units."""
    for value, text, place in _with_room(scale, axis, most=most):
        x = scale(value)
        drawing.line((x, top), (x, bottom), "zero" if value == 0 else "grid")
        drawing.text((place, bottom + 14), text, "tick", anchor="middle")
    title = shortened(axis.title, WIDTH)
    middle = _inside((scale.start + scale.end) / 2, width_of(title) / 2)
    drawing.text((middle, bottom + 30), title, "axis", anchor="middle")


def _with_room(scale: Scale, axis: Axis, *, most: int) -> list[tuple[float, str, float]]:
    """As many ticks as stand side by side without touching, and the middles of their texts."""
    for count in range(most, 0, -1):
        found = ticks(scale, axis, most=count)
        halves = [width_of(text) / 2 for _, text in found]
        # One at the edge moves inwards.
        places = [
            _inside(scale(value), half) for (value, _), half in zip(found, halves, strict=True)
        ]
        gaps = [
            right - left - half - other_half
            for (left, half), (right, other_half) in itertools.pairwise(
                zip(places, halves, strict=True)
            )
        ]
        if min(gaps, default=_TICK_GAP) >= _TICK_GAP:
            break
    return [(value, text, place) for (value, text), place in zip(found, places, strict=True)]


def _inside(middle: float, half: float) -> float:
    """Where a text stands that is to be around a place, and not beyond the edges."""
    return max(min(middle, WIDTH - half), half)


def draw_y_axis(
    drawing: Drawing, scale: Scale, axis: Axis, *, left: float, right: float, most: int = 5
) -> None:
    """Grid lines from left to right, and what stands before them; the title stands on top."""
    for value, text in ticks(scale, axis, most=most):
        y = scale(value)
        drawing.line((left, y), (right, y), "zero" if value == 0 else "grid")
        drawing.text((left - 6, y + 4), text, "tick", anchor="end")
    drawing.text((0, 11), shortened(axis.title, WIDTH), "axis")


def spread(places: Sequence[float], *, least: float, low: float, high: float) -> list[float]:
    """Places in [low, high] that keep a distance, near to the wanted ones, in their order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [min(max(places[i], low), high) for i in order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + least)
    if moved and moved[-1] > high:
        moved[-1] = high
        for i in range(len(moved) - 2, -1, -1):
            moved[i] = min(moved[i], moved[i + 1] - least)
    found = [0.0] * len(places)
    for i, place in zip(order, moved, strict=True):
        found[i] = place
    return found
