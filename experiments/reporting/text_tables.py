"""Tables as CSV: full precision, what is not defined empty."""

import csv
import io

from experiments.reporting.document import Cell, Column, Estimate, Table


def to_csv(table: Table) -> str:
    """A column with parts, such as an interval, has a column for each, behind its own."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in _names(column)])
    for row in table.rows:
        writer.writerow(
            [
                value
                for cell, column in zip(row, table.columns, strict=True)
                for value in _values(cell, column)
            ]
        )
    return text.getvalue()


def _names(column: Column) -> list[str]:
    return [column.name, *(f"{column.name}_{part}" for part in column.parts)]


def _values(cell: Cell, column: Column) -> list[object]:
    if isinstance(cell, Estimate):
        values = [cell.value, *(getattr(cell, part) for part in column.parts)]
    else:
        values = [cell, *(None for _ in column.parts)]
    return ["" if value is None else value for value in values]
