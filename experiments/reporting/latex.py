"""Tables as LaTeX, for the package booktabs."""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from experiments.reporting.document import Cell, Column, Estimate, Kind, Table
from experiments.reporting.drawing.svg import clean
from experiments.reporting.formats import ABSENT, cell_text

_SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\N{MINUS SIGN}": r"$-$",
    "\N{NO-BREAK SPACE}": "~",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "β̂": r"$\hat\beta$",
    "\N{DAGGER}": r"$^\dagger$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "–": "--",
}
_MOST_ROWS: Final = 50
"""Of what has room on a page; longer ones go over several."""


def to_latex(table: Table) -> str:
    """A table with a caption and a label, which goes over several pages if it is long."""
    spec = "".join("l" if column.kind is Kind.TEXT else "r" for column in table.columns)
    caption = [rf"\caption{{{escaped(table.caption)}}}", rf"\label{{tab:{table.name}}}"]
    head = [
        r"\toprule",
        *_group_heads(table),
        _row([escaped(column.title) for column in table.columns]),
        r"\midrule",
    ]
    body = [*_body(table), r"\bottomrule"]
    if len(table.rows) > _MOST_ROWS:
        lines = [
            r"% Needs \usepackage{booktabs} and \usepackage{longtable}",
            rf"\begin{{longtable}}{{{spec}}}",
            *caption[:1],
            caption[1] + r" \\",
            *head,
            r"\endhead",
            *body,
            r"\end{longtable}",
        ]
    else:
        lines = [
            r"% Needs \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            *caption,
            rf"\begin{{tabular}}{{{spec}}}",
            *head,
            *body,
            r"\end{tabular}",
            r"\end{table}",
        ]
    lines += [f"% {' '.join(note.split())}" for note in table.notes]
    return "\n".join(lines) + "\n"


def _body(table: Table) -> Iterator[str]:
    for place, row in enumerate(table.rows):
        if place in table.breaks:
            yield r"\midrule"
        yield _row([_cell(cell, c) for cell, c in zip(row, table.columns, strict=True)])


def _group_heads(table: Table) -> list[str]:
    if not any(column.group for column in table.columns):
        return []
    cells, rules, place = [], [], 1
    for group, members in groupby(table.columns, lambda column: column.group):
        span = len(list(members))
        cells.append(
            rf"\multicolumn{{{span}}}{{c}}{{{escaped(group)}}}" if group else "&" * (span - 1)
        )
        if group:
            rules.append(rf"\cmidrule(lr){{{place}-{place + span - 1}}}")
        place += span
    return [_row(cells), " ".join(rules)]


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _cell(cell: Cell, column: Column) -> str:
    text = escaped(cell_text(cell, column))
    if not isinstance(cell, Estimate):
        return text
    if cell.is_best:
        text = rf"\textbf{{{text}}}"
    text += escaped(cell.mark)
    if cell.deviation is not None and "deviation" in column.parts:
        spread = cell_text(cell.deviation, Column("", "", Kind.NUMBER, column.decimals))
        text += rf" $\pm$ {spread}" if spread != ABSENT else ""
    elif cell.low is not None and cell.high is not None and "deviation" not in column.parts:
        low, high = (escaped(cell_text(end, column)) for end in (cell.low, cell.high))
        text += f" ({low} to {high})"
    return text


def escaped(text: str) -> str:
    """Text as LaTeX sets it, on one line."""
    text = re.sub(r"[\r\n\t ]+", " ", clean(text)).replace("β̂", "\0")
    return "".join(_SPECIAL.get(c, c) for c in text).replace("\0", _SPECIAL["β̂"])
