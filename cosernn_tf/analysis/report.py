"""An analysis as short tables of text, to be printed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, cast

from cosernn_tf.analysis.contexts import HOUR
from cosernn_tf.analysis.distribution import ContextShare
from cosernn_tf.analysis.result import CONTEXT_SHARES, Analysis

_GAP: Final = "  "
_ABSENT: Final = "-"


def format_text(analysis: Analysis) -> str:
    """The figures' tables, and what the log does not tell."""
    coverage = analysis.coverage
    lines = [
        f"{coverage.users:,} users, {coverage.sessions:,} sessions, {coverage.sessions_embedded:,} "
        f"with an embedded track; {coverage.listens:,} kept listens, {coverage.listens_embedded:,} "
        f"of them embedded. In brackets: 95 % intervals, users taken as drawn at random.",
        "",
    ]
    for part in _PARTS:
        lines += part(analysis)
    return "\n".join([*lines, *(f"Note: {note}" for note in analysis.notes)]) + "\n"


def _context_shares(analysis: Analysis) -> Iterator[str]:
    rows = cast(Sequence[ContextShare], analysis.tables[CONTEXT_SHARES])
    for dimension, group in _by(rows, "dimension"):
        if dimension == HOUR:
            continue  # in the CSV
        yield from _table(
            f"Fig. 1, by {dimension}",
            ("sessions", "share", "users with one"),
            (
                (
                    row.context,
                    f"{row.sessions:,}",
                    _percent(row, "session_share"),
                    _percent(row, "user_share"),
                )
                for row in group
            ),
        )


_PARTS: Final[tuple[Callable[[Analysis], Iterator[str]], ...]] = (_context_shares,)


def _by(rows: Sequence[Any], *columns: str) -> Iterator[tuple[Any, list[Any]]]:
    """Runs of rows that agree in the columns."""
    for key, group in groupby(rows, lambda row: tuple(getattr(row, c) for c in columns)):
        yield key if len(key) > 1 else key[0], list(group)


def _percent(row: Any, name: str) -> str:
    return _around(row, name, lambda value: f"{100 * value:.1f}") + " %"


def _around(row: Any, name: str, text: Callable[[float], str]) -> str:
    """A figure with its interval."""
    value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
    if value is None:
        return _ABSENT
    return text(value) if low is None else f"{text(value)} [{text(low)}, {text(high)}]"


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Fixed width: names on the left, numbers on the right; an empty line ends it."""
    lines = [(title, *heads), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, (name, *cells) in enumerate(lines):
        right = (f"{_GAP}{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield f"{name:{widths[0]}}" + "".join(right)
        if not number:
            yield "-" * (sum(widths) + len(_GAP) * (len(widths) - 1))
    yield ""
