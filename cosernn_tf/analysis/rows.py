"""Figures as rows of a table: what is drawn, what stands in JSON, and what stands in CSV."""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Value = str | int | float | bool | None
"""What stands in a cell; None is not defined."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Base of the rows of tables: frozen dataclasses whose fields are the columns, all flat."""

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def to_json(self) -> dict[str, Value]:
        """Value by column."""
        return {name: getattr(self, name) for name in self.columns()}


def to_csv(row_type: type[Row], rows: Iterable[Row]) -> str:
    """With a header; what is not defined is empty, and numbers have all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(row_type.columns())
    for row in rows:
        writer.writerow(["" if value is None else value for value in row.to_json().values()])
    return text.getvalue()


def finite(value: float) -> float | None:
    """As a plain number; None where it is not defined."""
    return float(value) if math.isfinite(value) else None


def around(name: str, value: float, low: float, high: float) -> dict[str, Any]:
    """The three columns of a figure and the ends of its interval."""
    return {name: finite(value), f"{name}_low": finite(low), f"{name}_high": finite(high)}
