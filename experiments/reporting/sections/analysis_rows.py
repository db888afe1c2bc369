"""Rows of a table of `analysis.json`."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from experiments.reporting.document import Estimate

Row = Mapping[str, Any]
Rows = Sequence[Row]


def by(rows: Rows, name: str) -> list[tuple[Any, list[Row]]]:
    """Runs of rows that agree in a column."""
    return [(key, list(group)) for key, group in groupby(rows, lambda row: row[name])]


def estimate(row: Row, name: str) -> Estimate | None:
    """A column and, if it has one, its interval."""
    if row[name] is None:
        return None
    return Estimate(row[name], low=row.get(f"{name}_low"), high=row.get(f"{name}_high"))
