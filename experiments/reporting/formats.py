"""Numbers as people read them."""

import math
from typing import Final

from experiments.reporting.document import Column, Estimate, Kind

ABSENT: Final = "–"
LEAST_P: Final = 0.001
_GAP: Final = "\N{NO-BREAK SPACE}"
PERCENT_SIGN: Final = f"{_GAP}%"


def cell_text(value: str | int | float | Estimate | None, column: Column) -> str:
    """A cell without its deviation, interval or mark."""
    if isinstance(value, Estimate):
        value = value.value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    if isinstance(value, str):
        return value
    return number(value, column.kind, column.decimals)


def number(value: float, kind: Kind, decimals: int) -> str:
    """A finite number of a column."""
    match kind:
        case Kind.COUNT:
            return f"{value:,.0f}"
        case Kind.PERCENT:
            return percent(value, decimals)
        case Kind.CHANGE:
            return change(value, decimals)
        case Kind.P_VALUE:
            return p_value(value)
        case Kind.SIGNED:
            return signed(value, decimals)
    return f"{value:,.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    # Added zero takes the sign from what rounds to zero.
    return f"{round(value, decimals) + 0.0:+,.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float, decimals: int = 1) -> str:
    return f"{100 * share:,.{decimals}f}{PERCENT_SIGN}"


def change(share: float, decimals: int = 1) -> str:
    return f"{signed(100 * share, decimals)}{PERCENT_SIGN}"


def p_value(p: float) -> str:
    return f"<{_GAP}{LEAST_P:g}" if p < LEAST_P else f"{p:.3f}"


def p_clause(p: float) -> str:
    """As part of a sentence: p < 0.001, p = 0.012."""
    sign = "" if p < LEAST_P else f"={_GAP}"
    return f"p{_GAP}{sign}{p_value(p)}"


def listed(items: list[str] | tuple[str, ...], *, last: str = "and") -> str:
    """a; a and b; a, b and c."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {last} {items[-1]}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """1 seed, 3 seeds."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
