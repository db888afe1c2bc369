"""A report before it is HTML, CSV or LaTeX: sections of tables and figures with their sources."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from markupsafe import Markup


@dataclass(frozen=True)
class Source:
    """A file that figures rest on."""

    path: Path
    command: str
    """What makes it."""
    sha256: str


@dataclass(frozen=True)
class Estimate:
    """A number, and how sure it is."""

    value: float
    deviation: float | None = None
    """Standard deviation over seeds."""
    low: float | None = None
    high: float | None = None
    """Ends of the interval."""
    is_best: bool = False
    """Of its column."""
    mark: str = ""
    """What a note below the table explains."""


Cell = str | int | float | Estimate | None
"""None: not defined."""


class Kind(StrEnum):
    """How the numbers of a column are written."""

    TEXT = "text"
    COUNT = "count"
    NUMBER = "number"
    SIGNED = "signed"
    PERCENT = "percent"
    """Of a share: 0.12 is 12.0 %."""
    CHANGE = "change"
    """A signed share."""
    P_VALUE = "p_value"


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    """In the CSV."""
    title: str
    kind: Kind = Kind.TEXT
    decimals: int = 4
    group: str = ""
    """Title over neighbouring columns of the same group."""
    parts: tuple[str, ...] = ()
    """What an `Estimate` here has beside its value: of deviation, low, high."""


@dataclass(frozen=True)
class Table:
    """Numbers, with what they mean and where they come from. The first column heads each row."""

    name: str
    """Of its files, and in links."""
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()
    breaks: tuple[int, ...] = ()
    """Rows before which a line is drawn."""
    is_folded: bool = False
    """Long, and not what one comes for: unfolded on demand."""


@dataclass(frozen=True)
class Panel:
    """A drawing with its own axes."""

    title: str
    drawing: Markup


@dataclass(frozen=True)
class KeyEntry:
    """A series in the key above a figure."""

    label: str
    drawing: Markup


@dataclass(frozen=True)
class Figure:
    """Drawings, and the same numbers as a table."""

    title: str
    table: Table
    panels: tuple[Panel, ...]
    says: tuple[str, ...] = ()
    """What is to be seen, in sentences that follow from the numbers."""
    reading: str = ""
    """How it is to be read."""
    key: tuple[KeyEntry, ...] = ()
    is_wide: bool = False
    """Few panels, which then may take more room."""

    @property
    def name(self) -> str:
        return self.table.name


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command that makes it."""

    sentence: str
    command: str


@dataclass(frozen=True)
class Facts:
    """Terms and what is to be said of them."""

    entries: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Definition:
    """What a term means."""

    name: str
    """Of its place on the page."""
    title: str
    sentences: tuple[str, ...]
    words: tuple[str, ...] = ()
    """Regular expressions: where text first has one, it links here."""
    address: str = ""
    """On the web, of what is defined."""


@dataclass(frozen=True)
class Definitions:
    """Terms that the page's text links to."""

    entries: tuple[Definition, ...]


@dataclass(frozen=True)
class Sources:
    """Where each table and figure of the document comes from."""


@dataclass(frozen=True)
class Listings:
    """Texts of files, such as flagfiles, each to be unfolded."""

    title: str
    entries: tuple[tuple[str, str], ...]
    """Titles and texts."""


Block = Table | Figure | Missing | Facts | Definitions | Sources | Listings


@dataclass(frozen=True)
class Section:
    """A heading with what follows."""

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    verdict: str
    """The answer in a sentence."""
    reasons: tuple[str, ...]
    scorecard: Table | None
    """The recommended model beside others."""
    cautions: tuple[str, ...]
    sections: tuple[Section, ...]
    data: tuple[str, ...] = ()
    """What it is about: the log and what was made of it."""
    colophon: tuple[str, ...] = field(default=())
    """When, where and with what the report itself was made."""

    def files(self) -> tuple[Source, ...]:
        """Every file that a table rests on, once."""
        return tuple(dict.fromkeys(s for table in self.tables() for s in table.sources))

    def definitions(self) -> Iterator[Definition]:
        """Every one that is on the page."""
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Definitions):
                    yield from block.entries

    def tables(self) -> Iterator[Table]:
        """Every table, also those behind figures."""
        if self.scorecard is not None:
            yield self.scorecard
        for section in self.sections:
            for block in section.blocks:
                if isinstance(block, Figure):
                    yield block.table
                elif isinstance(block, Table):
                    yield block
