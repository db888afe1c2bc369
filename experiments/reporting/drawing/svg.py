"""SVG elements, escaped, with a title and a description for who does not see them."""

import functools
import math
import re
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib.font_manager import findfont, get_font
from matplotlib.ft2font import FT2Font, LoadFlags

from experiments.reporting.palette import Look

WIDTH: Final = 360
"""Of a drawing, in its own units: about the width of a phone, which shows its text at full size."""
LINE_HEIGHT: Final = 16
_SIZE: Final = 4.0
"""Half of a marker's."""
_FONT: Final = "DejaVu Sans"
_FONT_SIZE: Final = 12
_ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"
_FORBIDDEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML cannot hold."""


class Elements:
    """Elements of one SVG; places are in its own units, y downwards."""

    def __init__(self, size: tuple[float, float], attributes: Mapping[str, str]) -> None:
        """Starts empty, with a width and a height."""
        box = f"0 0 {_number(size[0])} {_number(size[1])}"
        self._root = ElementTree.Element("svg", {"viewBox": box, **attributes})

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        (x1, y1), (x2, y2) = start, end
        self._add("line", kind, x1=x1, y1=y1, x2=x2, y2=y2)

    def rectangle(
        self,
        corner: tuple[float, float],
        size: tuple[float, float],
        kind: str,
        *,
        opacity: float | None = None,
    ) -> None:
        element = self._add("rect", kind, x=corner[0], y=corner[1], width=size[0], height=size[1])
        if opacity is not None:
            element.set("fill-opacity", f"{opacity:.3f}")

    def path(
        self, points: list[tuple[float, float]], kind: str, *, is_closed: bool = False
    ) -> None:
        places = "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        self._add("path", kind).set("d", f"M{places}{'Z' if is_closed else ''}")

    def text(
        self,
        place: tuple[float, float],
        text: str,
        kind: str = "",
        *,
        anchor: str = "start",
        degrees: int = 0,
    ) -> None:
        element = self._add("text", kind, x=place[0], y=place[1])
        if anchor != "start":
            element.set("text-anchor", anchor)
        if degrees:
            element.set("transform", f"rotate({degrees} {_number(place[0])} {_number(place[1])})")
        element.text = clean(text)

    def marker(self, place: tuple[float, float], look: Look) -> None:
        x, y = place
        kind = f"{'hollow' if look.is_hollow else 'mark'} c{look.colour}"
        if look.shape == "circle":
            self._add("circle", kind, cx=x, cy=y, r=_SIZE)
        else:
            outline = [(x + dx * _SIZE, y + dy * _SIZE) for dx, dy in _OUTLINES[look.shape]]
            self.path(outline, kind, is_closed=True)

    def to_svg(self) -> Markup:
        return Markup(ElementTree.tostring(self._root, encoding="unicode"))

    def _add(self, tag: str, kind: str, **places: float) -> ElementTree.Element:
        attributes = {name: _number(value) for name, value in places.items()}
        if kind:
            attributes["class"] = kind
        return ElementTree.SubElement(self._root, tag, attributes)


class Drawing(Elements):
    """A chart, with a title and a description."""

    def __init__(self, *, name: str, title: str, description: str, height: float) -> None:
        """Starts with its words alone.

        Args:
            name: Of its ids, one of its own on a page.
            title: What it is.
            description: What is to be seen.
            height: In units, of which the width has `WIDTH`.
        """
        labels = {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
        super().__init__((WIDTH, height), labels)
        for tag, text in (("title", title), ("desc", description)):
            element = ElementTree.SubElement(self._root, tag, {"id": f"{name}-{tag}"})
            element.text = clean(text)


_CROSS: Final = (
    *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
    *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
)
_HALF_ROOT: Final = math.sqrt(0.5)


def _around(radii: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    """Corners at even angles, the first on top."""
    angles = [2 * math.pi * place / len(radii) for place in range(len(radii))]
    return tuple(
        (radius * math.sin(angle), -radius * math.cos(angle))
        for radius, angle in zip(radii, angles, strict=True)
    )


_OUTLINES: Final = {
    "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    "wedge": ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
    "cross": _CROSS,
    "saltire": tuple(((x - y) * _HALF_ROOT, (x + y) * _HALF_ROOT) for x, y in _CROSS),
    "pentagon": _around((1.2,) * 5),
    "star": _around((1.5, 0.6) * 5),
    "hourglass": ((-1, -1.1), (1, -1.1), (0, 0), (1, 1.1), (-1, 1.1), (0, 0)),
}


def key_mark(look: Look) -> Markup:
    """A marker alone, for a key; the text beside it says what it is."""
    mark = Elements((14, 14), {"class": "key-mark", "aria-hidden": "true"})
    mark.marker((7, 7), look)
    return mark.to_svg()


def clean(text: str) -> str:
    """Text without what XML cannot hold."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)


def width_of(text: str) -> float:
    """Of a text in units, in a font that is wider than most."""
    return sum(map(_advance, clean(text)))


@functools.cache
def _advance(character: str) -> float:
    glyph = _font().load_char(ord(character), flags=LoadFlags.NO_HINTING)
    return float(glyph.linearHoriAdvance) / 65_536


@functools.cache
def _font() -> FT2Font:
    font = get_font(findfont(_FONT))
    font.set_size(_FONT_SIZE, 72)
    return font


def shortened(text: str, width: float) -> str:
    """Text that has room in a width, with an ellipsis for what has not."""
    if width_of(text) <= width:
        return text
    while text and width_of(text + _ELLIPSIS) > width:
        text = text[:-1]
    return text.rstrip() + _ELLIPSIS


def in_lines(text: str, width: float) -> list[str]:
    """Text in one line or two, as far as it has room."""
    words = text.split(" ")
    first = words.pop(0)
    while words and width_of(f"{first} {words[0]}") <= width:
        first += f" {words.pop(0)}"
    rest = [" ".join(words)] if words else []
    return [shortened(line, width) for line in (first, *rest)]


def _number(value: float) -> str:
    assert math.isfinite(value), value
    return f"{value:.1f}".rstrip("0").rstrip(".")
