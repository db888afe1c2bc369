"""The document as one HTML page, in which nothing of a log is taken for markup."""

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.reporting.document import (
    Block,
    Cell,
    Column,
    Document,
    Estimate,
    Kind,
    Source,
    Table,
)
from experiments.reporting.drawing.svg import clean
from experiments.reporting.formats import ABSENT, PERCENT_SIGN, cell_text
from experiments.reporting.links import FirstUses

_TEMPLATES: Final = Path(__file__).with_name("templates")
_PAGE: Final = "page.html.j2"
_STYLE: Final = "page.css"


def to_html(document: Document, *, folder: Path) -> str:
    """The page.

    Args:
        document: What is on it.
        folder: Where it will lie; links to sources are relative to it.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        cell=_cell,
        groups=_groups,
        ranges=_ranges,
        what=_what,
        link=lambda source: _link(source, folder),
        terms=FirstUses(document.definitions()).link,
    )
    style = Markup((_TEMPLATES / _STYLE).read_text(encoding="utf-8"))
    files = {source: number for number, source in enumerate(document.files(), start=1)}
    page = environment.get_template(_PAGE).render(document=document, style=style, files=files)
    return clean(page) + "\n"


def _what(block: Block) -> str:
    return type(block).__name__


def _link(source: Source, folder: Path) -> str:
    """Relative, so that a workspace may be moved."""
    relative = os.path.relpath(source.path.resolve(), folder.resolve())
    return urllib.parse.quote(Path(relative).as_posix())


def _ranges(sources: Sequence[Source], files: Mapping[Source, int]) -> list[tuple[int, int]]:
    """Numbers of files, those that follow each other as the first and the last of them."""
    found: list[tuple[int, int]] = []
    for number in sorted(files[source] for source in sources):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _groups(table: Table) -> list[tuple[str, int]]:
    """Titles over neighbouring columns, and over how many; empty if there are none."""
    found = [
        (group, len(list(columns)))
        for group, columns in groupby(table.columns, lambda column: column.group)
    ]
    return found if any(group for group, _ in found) else []


def _cell(cell: Cell, column: Column) -> str | Markup:
    text = cell_text(cell, column)
    if text == ABSENT:
        return Markup('<span aria-label="not defined">{}</span>').format(ABSENT)
    if not isinstance(cell, Estimate):
        return text
    shown: str | Markup = Markup("<strong>{}</strong>").format(text) if cell.is_best else text
    if cell.mark:
        shown = Markup("{}<sup>{}</sup>").format(shown, cell.mark)
    if cell.deviation is not None and "deviation" in column.parts:
        spread = cell_text(cell.deviation, Column("", "", Kind.NUMBER, column.decimals))
        shown = Markup('{} <span class="spread below">± {}</span>').format(shown, spread)
    elif cell.low is not None and cell.high is not None and "deviation" not in column.parts:
        low, high = (cell_text(end, column) for end in (cell.low, cell.high))
        low = low.removesuffix(PERCENT_SIGN)  # one is enough
        shown = Markup('{} <span class="spread">({} to {})</span>').format(shown, low, high)
    return shown
