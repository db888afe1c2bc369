"""A matrix of signed shares: a colour each way, its depth the size, and the number in the cell."""

from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup

from experiments.reporting.drawing.dots import Words
from experiments.reporting.drawing.svg import WIDTH, Drawing, shortened, width_of
from experiments.reporting.formats import signed

MAX_OPACITY: Final = 0.45
"""Of the deepest colour: the number in the cell stays readable."""

_CELL: Final = 34
_WIDEST_LABEL: Final = 96
_HEAD: Final = 92
_WIDEST_HEAD: Final = 94
_SLANT: Final = 40
_BELOW: Final = 24


def draw_heat_map(
    sources: Sequence[str],
    targets: Sequence[str],
    values: Mapping[tuple[str, str], float],
    words: Words,
    *,
    axes: tuple[str, str],
) -> Markup:
    """A row a source, a column a target; values are shares, shown as percentage points.

    Args:
        sources: From top to bottom.
        targets: From left to right.
        values: By source and target; what is not there is empty.
        words: What the drawing says of itself.
        axes: What sources and targets are.
    """
    left = min(max(map(width_of, sources), default=0), _WIDEST_LABEL) + 8
    width = min((WIDTH - 2 - left) / max(len(targets), 1), 52)
    bottom = _HEAD + _CELL * len(sources)
    drawing = Drawing(
        name=words.name, title=words.title, description=words.description, height=bottom + _BELOW
    )
    most = max((abs(value) for value in values.values()), default=0.0) or 1.0
    head = f"{axes[0]} \N{DOWNWARDS ARROW}   {axes[1]} \N{RIGHTWARDS ARROW}"
    drawing.text((0, 11), shortened(head, WIDTH), "axis")
    for column, target in enumerate(targets):
        x = left + (column + 0.5) * width
        text = shortened(target, _WIDEST_HEAD)
        drawing.text((x + 3, _HEAD - 6), text, "tick slanted", anchor="end", degrees=_SLANT)
    for row, source in enumerate(sources):
        y = _HEAD + row * _CELL
        text = shortened(source, _WIDEST_LABEL)
        drawing.text((left - 6, y + _CELL / 2 + 4), text, "label", anchor="end")
        for column, target in enumerate(targets):
            if (source, target) not in values:
                continue
            value = values[source, target]
            kind = "cell c1" if value >= 0 else "cell c2"
            corner = (left + column * width + 1, y + 1)
            opacity = MAX_OPACITY * abs(value) / most
            drawing.rectangle(corner, (width - 2, _CELL - 2), kind, opacity=opacity)
            place = (left + (column + 0.5) * width, y + _CELL / 2 + 4)
            drawing.text(place, signed(100 * value, 1), "label", anchor="middle")
    drawing.text((left, bottom + 16), "percentage points over chance", "axis")
    return drawing.to_svg()
