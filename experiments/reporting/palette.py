"""Which colour and shape a model has, in all figures."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

NUM_COLOURS: Final = 6
"""`--c1` to `--c6` of page.css; what follows is grey."""
SHAPES: Final = (
    *("circle", "square", "diamond", "triangle", "wedge", "cross"),
    *("saltire", "pentagon", "star", "hourglass"),
)
_KNOWN: Final = ("cosernn", "encore", "jodie", "latent_cross", "rrn")
"""Models that look the same in every report, whatever else is in it."""
_ALSO: Final = {"table5_encore": "encore"}
"""Other names of theirs."""


@dataclass(frozen=True)
class Look:
    """Of a series; never the colour alone tells two series apart."""

    colour: int
    """1 to `NUM_COLOURS`, 0: grey."""
    shape: str
    is_hollow: bool = False


PLAIN: Final = Look(1, "circle")
"""Where there are no models."""
NO_MODEL: Final = Look(0, "star", is_hollow=True)
"""Beside models, of what is none."""


def looks_of(trained: Sequence[str], others: Sequence[str]) -> dict[str, Look]:
    """The looks of trained models, the most important first, and of heuristics, by name."""
    places: dict[str, int] = {}
    for name in trained:
        known = _ALSO.get(name, name)
        if known in _KNOWN and _KNOWN.index(known) not in places.values():
            places[name] = _KNOWN.index(known)
    free = (place for place in itertools.count() if place not in places.values())
    for name in trained:
        if name not in places:
            places[name] = next(free)
    found = {
        name: Look(place + 1, SHAPES[place]) if place < NUM_COLOURS else _grey(place)
        for name, place in places.items()
    }
    return found | {name: _grey(place, is_hollow=True) for place, name in enumerate(others)}


def _grey(place: int, *, is_hollow: bool = False) -> Look:
    return Look(0, SHAPES[place % len(SHAPES)], is_hollow)
