"""Colours of the page: enough contrast in both schemes, and apart for eyes of every kind."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.reporting import html
from experiments.reporting.drawing.heat_map import MAX_OPACITY
from experiments.reporting.palette import NUM_COLOURS, SHAPES, looks_of

STYLE = (Path(html.__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
SERIES = [f"c{number}" for number in range(1, NUM_COLOURS + 1)]

DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                [-0.011820, 0.042940, 0.968881]]  # fmt: skip
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
              [-0.003882, -0.048116, 1.051998]]  # fmt: skip
"""Of linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1)."""


def schemes() -> dict[str, dict[str, np.ndarray]]:
    """Colours by name, linear RGB."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = {}
    for name, text in (("light", light), ("dark", dark)):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text))
        found[name] = {key: linear(value) for key, value in colours.items()}
    return found


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(values: np.ndarray) -> np.ndarray:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    luminances = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (luminances[1] + 0.05) / (luminances[0] + 0.05)


def lab(values: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    scaled = xyz @ np.clip(values, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_a_contrast_of_4_5(scheme):
    colours = schemes()[scheme]
    for surface in ("surface", "raised"):
        for name in ("ink", "muted", "link", "grey", *SERIES):
            assert contrast(colours[name], colours[surface]) >= 4.5, (name, surface)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_number_in_a_cell_of_the_deepest_colour_is_readable(scheme):
    colours = schemes()[scheme]
    for name in ("c1", "c2"):
        blended = (1 - MAX_OPACITY) * encoded(colours["surface"]) + MAX_OPACITY * encoded(
            colours[name]
        )
        cell = linear("#" + "".join(f"{round(255 * v):02x}" for v in blended))
        assert contrast(colours["ink"], cell) >= 4.5, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("seen", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["all", "d", "p"])
def test_the_first_colours_are_told_apart(scheme, seen):
    """Those of the models that there mostly are; shapes tell all others apart."""
    colours = schemes()[scheme]
    for one, other in itertools.combinations(SERIES[:4], 2):
        distance = np.linalg.norm(
            lab(np.array(seen) @ colours[one]) - lab(np.array(seen) @ colours[other])
        )
        assert distance >= 10, (one, other)


def test_a_model_looks_the_same_whatever_else_there_is_and_no_two_look_alike():
    few = looks_of(["cosernn", "table5_encore"], ["last_any"])
    many = looks_of([*(f"run-{n}" for n in range(9)), "cosernn", "encore"], ["last_any", "avg_any"])
    assert few["cosernn"] == many["cosernn"]
    assert few["table5_encore"] == many["encore"]
    assert few["last_any"] == many["last_any"]
    trained = [many[f"run-{n}"] for n in range(8)] + [many["cosernn"], many["encore"]]
    # Not by the colour alone.
    assert len({look.shape for look in trained}) == len(SHAPES) == 10
    coloured = [look.colour for look in many.values() if look.colour]
    assert sorted(coloured) == list(range(1, NUM_COLOURS + 1))
    assert many["run-0"].colour  # the first are coloured
    assert not any(look.is_hollow for look in trained)
    assert many["last_any"].is_hollow


def test_two_names_of_a_model_do_not_share_its_look():
    looks = looks_of(["encore", "table5_encore"], [])
    assert looks["encore"] != looks["table5_encore"]
