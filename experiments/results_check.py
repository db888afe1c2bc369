"""Compares tables with those that were kept, figure by figure."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cosernn_tf.errors import UserError

_SHOWN: Final = 20
"""Differences that are listed."""


def check(tables: Mapping[str, Path], stored: Path, *, tolerance: float) -> None:
    """Compares means.

    Args:
        tables: The CSV of each table, by name.
        stored: The directory with those that were kept, as `<name>.csv`.
        tolerance: How much may differ, as a share of what was kept.

    Raises:
        UserError: There is nothing to compare with; a figure differs by more, or only one side has
            it.
    """
    differences: list[str] = []
    for name, path in tables.items():
        kept = stored / f"{name}.csv"
        if not kept.is_file():
            raise UserError(f"{kept} does not exist: make it, without --check")
        expected, found = _means(kept), _means(path)
        for cell in sorted({*expected, *found}):
            pair = expected.get(cell), found.get(cell)
            if not _is_near(*pair, tolerance=tolerance):
                left, right = ("nothing" if value is None else f"{value:.4f}" for value in pair)
                differences.append(f"{name}, {', '.join(cell)}: {left} there, {right} now")
    if differences:
        shown = "; ".join(differences[:_SHOWN])
        raise UserError(
            f"{len(differences)} figures differ from {stored} by more than {tolerance:.0%}: {shown}"
            + ("; ..." if len(differences) > _SHOWN else "")
        )


def _is_near(expected: float | None, found: float | None, *, tolerance: float) -> bool:
    if expected is None or found is None:
        return expected is found
    return abs(found - expected) <= tolerance * abs(expected)


def _means(path: Path) -> dict[tuple[str, str], float | None]:
    """By row and metric; None where a metric is not defined."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (row["row"], row["metric"]): float(row["mean"]) if row["mean"] else None
            for row in csv.DictReader(file)
        }
