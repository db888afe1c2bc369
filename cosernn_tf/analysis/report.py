"""An analysis as short tables of text, to be printed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final, cast

from cosernn_tf.analysis.contexts import HOUR
from cosernn_tf.analysis.distribution import ContextShare
from cosernn_tf.analysis.improvement import ANY, Improvement
from cosernn_tf.analysis.nearest import NearestContext
from cosernn_tf.analysis.result import (
    CONTEXT_SHARES,
    CONTEXT_SIMILARITY,
    IMPROVEMENT,
    NEAREST_SESSIONS,
    SKIP_CORRELATION,
    Analysis,
)
from cosernn_tf.analysis.skips import SkipCorrelation
from cosernn_tf.analysis.variety import ContextSimilarity
from cosernn_tf.evaluation import metrics

_DRAWN: Final = {
    metrics.COSINE: "cosine",
    metrics.session_rr(50): "MRR, K = 50",
    metrics.ap(100): "mAP, K = 100",
    metrics.recall(100): "recall@10, K = 100",
}
"""Metrics of Fig. 5."""

_MAX_MODELS: Final = 3
"""Whose improvements are printed by context."""

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


def _context_similarity(analysis: Analysis) -> Iterator[str]:
    rows = cast(Sequence[ContextSimilarity], analysis.tables[CONTEXT_SIMILARITY])
    for dimension, group in _by(rows, "dimension"):
        yield from _table(
            f"Fig. 2a, by {dimension}",
            ("listens", "cosine of two, mean", "quartiles", "of listens"),
            (
                (
                    row.context,
                    f"{row.listens:,}",
                    _around(row, "mean", _decimals(4)),
                    " ".join(_number(value, 3) for value in (row.p25, row.p50, row.p75)),
                    "all" if row.exact else f"{row.sampled:,}",
                )
                for row in group
            ),
        )


def _skip_correlation(analysis: Analysis) -> Iterator[str]:
    rows = cast(Sequence[SkipCorrelation], analysis.tables[SKIP_CORRELATION])
    yield from _table(
        "Fig. 2b, skips at least",
        ("sessions", "correlation", "slope"),
        (
            (
                str(row.min_skips),
                f"{row.sessions:,}",
                _around(row, "correlation", _decimals(3)),
                _around(row, "slope", _decimals(3)),
            )
            for row in rows
            if row.sessions
        ),
    )


def _nearest_sessions(analysis: Analysis) -> Iterator[str]:
    """A row a source, a column a target; the interval is that of the diagonal."""
    rows = cast(Sequence[NearestContext], analysis.tables[NEAREST_SESSIONS])
    for dimension, group in _by(rows, "dimension"):
        sources = list(_by(group, "source"))
        yield from _table(
            f"Fig. 3, points above chance, by {dimension}",
            ("sources", *(name for name, _ in sources), "the same"),
            (
                (
                    name,
                    f"{cells[0].sources:,}",
                    *(_number(cell.excess, 1, times=100.0) for cell in cells),
                    *(_percent(cell, "excess") for cell in cells if cell.target == name),
                )
                for name, cells in sources
            ),
        )


def _improvement(analysis: Analysis) -> Iterator[str]:
    """The metrics that the paper draws; of many models, those of all sessions only."""
    rows = cast(Sequence[Improvement], analysis.tables[IMPROVEMENT])
    drawn = [row for row in rows if row.metric in _DRAWN]
    models = list(dict.fromkeys(row.model for row in drawn))
    if len(models) > _MAX_MODELS:
        of_all = [row for row in drawn if row.dimension == ANY]
        yield from _improvement_table(
            f"Fig. 5, over {rows[0].reference}", [(row.model, row) for row in of_all]
        )
        yield f"By period and device: {IMPROVEMENT}.csv."
        yield ""
        return
    for model in models:
        of_model = [(row.context, row) for row in drawn if row.model == model]
        yield from _improvement_table(f"Fig. 5, {model} over {rows[0].reference}", of_model)


def _improvement_table(title: str, cells: Sequence[tuple[str, Improvement]]) -> Iterator[str]:
    """A row a name, a column a metric."""
    lines: dict[str, dict[str, Improvement]] = {}
    for name, cell in cells:
        lines.setdefault(name, {})[cell.metric] = cell
    yield from _table(
        title,
        ("sessions", *_DRAWN.values()),
        (
            (
                name,
                f"{max(cell.sessions for cell in line.values()):,}",
                *(_percent(line[m], "improvement") if m in line else _ABSENT for m in _DRAWN),
            )
            for name, line in lines.items()
        ),
    )


_PARTS: Final[tuple[Callable[[Analysis], Iterator[str]], ...]] = (
    _context_shares,
    _context_similarity,
    _skip_correlation,
    _nearest_sessions,
    _improvement,
)


def _by(rows: Sequence[Any], *columns: str) -> Iterator[tuple[Any, list[Any]]]:
    """Runs of rows that agree in the columns."""
    for key, group in groupby(rows, lambda row: tuple(getattr(row, c) for c in columns)):
        yield key if len(key) > 1 else key[0], list(group)


def _percent(row: Any, name: str) -> str:
    return _around(row, name, _decimals(1, times=100.0), unit=" %")


def _decimals(places: int, *, times: float = 1.0) -> Callable[[float], str]:
    """Formats numbers; what is rounded to zero has no sign."""
    return lambda value: f"{round(times * value, places) + 0.0:.{places}f}"


def _number(value: float | None, places: int, *, times: float = 1.0) -> str:
    return _ABSENT if value is None else _decimals(places, times=times)(value)


def _around(row: Any, name: str, text: Callable[[float], str], *, unit: str = "") -> str:
    """A figure with its interval."""
    value, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
    if value is None:
        return _ABSENT
    ends = "" if low is None else f" [{text(low)}, {text(high)}]"
    return text(value) + ends + unit


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
