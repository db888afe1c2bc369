"""Logs for property-based tests: small, but with everything that decides where sessions end."""

import random
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from beam_pipelines.rules.checks import LAST_TIMESTAMP

from .logs import GAP, Row

START = 1_554_076_800
USERS = ("anna", "anna\0", "../ü", "🎧")
TRACKS = ("t", "T", "t\n", "ü", "/", "🎧")
_LONG = 2**63 - 1

_EVENTFUL = (
    *("same second", "overlap", "just before the gap", "the gap", "just after the gap"),
    *("at once", "soon", "soon", "later", "days later"),
)
_CALM = ("at once", "soon") * 10 + ("same second", "overlap", "the gap")
"""With sessions of more listens than are kept."""


def _values(seed: int) -> Row:
    """A listen but for whose it is and when; the first is the simplest."""
    rng = random.Random(seed)
    choices: dict[str, tuple[Any, ...]] = {
        "track_id": TRACKS,
        "ms_played": (None, None, None, 0, 999, 29_999, 30_000, 61_500, 1_200_000, _LONG),
        "skipped": (None, None, True, False),
        "device": (None, "mobile", "WEB", "toaster"),
        "stream_source": (None, "charts", "char\nts", "char\\nts"),
        "utc_offset_minutes": (None, 0, 330, -1080, 1080),
        "track_duration_ms": (None, 0, 100_000, 120_000, 120_001, _LONG),
    }
    return {name: rng.choice(values) if seed else values[0] for name, values in choices.items()}


# One choice a listen, and not one a column: examples are found and shrunk much faster.
_LISTENS = st.sampled_from([_values(seed) for seed in range(256)])


@st.composite
def logs(
    draw: st.DrawFn,
    *,
    min_listens: int = 1,
    max_listens: int = 30,
    users: tuple[str, ...] = USERS[:3],
) -> list[Row]:
    """Rows in no order: of each user listens that overlap, touch, tie, repeat, or pause."""
    users = users[: draw(st.integers(1, len(users)))]
    steps = draw(st.sampled_from((_EVENTFUL, _CALM)))
    time = dict.fromkeys(users, START)
    end = dict(time)
    rows: list[Row] = []
    fewest = min_listens if steps is _EVENTFUL else max(min_listens, max_listens // 2)
    for _ in range(draw(st.integers(fewest, max_listens))):
        user, step = draw(st.tuples(st.sampled_from(users), st.sampled_from(steps)))
        time[user] = max(
            time[user],
            {
                "same second": time[user],
                "overlap": end[user] - 1,
                "at once": end[user],
                "soon": end[user] + 55,
                "just before the gap": end[user] + GAP - 1,
                "the gap": end[user] + GAP,
                "just after the gap": end[user] + GAP + 1,
                "later": end[user] + 5 * GAP,
                "days later": end[user] + 300_000,
            }[step],
        )
        rows.append({"user_id": user, "timestamp": time[user], **draw(_LISTENS)})
        played = rows[-1]["ms_played"] or 0
        # After one that never ends the next starts as if it had been short.
        end[user] = time[user] + (played // 1000 if played < _LONG else 60)
    # Rows that are one listen: of the same user, track and time.
    for place in draw(st.lists(st.integers(0, len(rows) - 1), max_size=3)):
        same = {name: rows[place][name] for name in ("user_id", "timestamp", "track_id")}
        rows.append({**draw(_LISTENS), **same})
    return draw(st.permutations(rows))


@st.composite
def later_listens(draw: st.DrawFn, user: str, last: int) -> list[Row]:
    """Listens of a user after the last one."""
    times = draw(st.lists(st.integers(last + 1, last + 3 * GAP), min_size=1, max_size=13))
    return [{"user_id": user, "timestamp": time, **draw(_LISTENS)} for time in times]


@st.composite
def parts(draw: st.DrawFn, rows: list[Row]) -> list[list[Row]]:
    """The rows in another order, in some parts, also empty ones."""
    shuffled = draw(st.permutations(rows))
    places = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    bounds = [0, *places, len(rows)]
    return [shuffled[first:last] for first, last in pairwise(bounds)]


_FIELDS: dict[str, tuple[tuple[Any, str | None], ...]] = {
    "user_id": ((" u", None), ("", "missing"), (None, "missing"), (b"\xff", "bad")),
    "track_id": (("t ", None), ("", "missing"), (b"\xc3", "bad"), ("x" * 65_537, "too_long")),
    "timestamp": (
        (str(START), None),
        (str(LAST_TIMESTAMP), None),
        ("0", None),
        ("1970-01-01T00:00:00+00:01", "out_of_range"),
        ("-1", "out_of_range"),
        (str(LAST_TIMESTAMP + 1), "out_of_range"),
        (" ", "missing"),
        ("soon", "bad"),
    ),
    "ms_played": (("0", None), ("9" * 18, None), ("", None), ("-1", "negative"), ("1.5", "bad")),
    "skipped": (("Yes", None), (None, None), ("2", "bad")),
    "device": (("toaster", None), (None, None), (b"\xff", "bad")),
    "stream_source": ((" ", None), (None, None), ("x" * 65_537, "too_long")),
    "utc_offset_minutes": (("-1080", None), (None, None), ("1081", "out_of_range"), ("h", "bad")),
    "track_duration_ms": (("0", None), (None, None), ("-9", "negative"), ("none", "bad")),
}
_LATER = (
    ("timestamp", "out_of_range", "timestamp_out_of_range"),
    ("ms_played", "negative", "negative_ms_played"),
    ("track_duration_ms", "negative", "negative_track_duration_ms"),
    ("utc_offset_minutes", "out_of_range", "utc_offset_minutes_out_of_range"),
)
"""What is looked at once all columns have been read."""


@st.composite
def raw_rows(draw: st.DrawFn) -> list[tuple[dict[str, bytes | None], str | None]]:
    """Rows as a text file gives them, and the reason against each, if there is one."""
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        fields = {name: draw(_mostly_the_first(pairs)) for name, pairs in _FIELDS.items()}
        values = {
            name: value.encode() if isinstance(value, str) else value
            for name, (value, _) in fields.items()
        }
        rows.append((values, _reason({name: fault for name, (_, fault) in fields.items()})))
    return rows


def _mostly_the_first(pairs: tuple[tuple[Any, str | None], ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(pairs[:1] * 8 + pairs)


def _reason(faults: dict[str, str | None]) -> str | None:
    for name, fault in faults.items():
        if fault in ("bad", "missing", "too_long"):
            return f"{fault}_{name}"
    return next((reason for name, fault, reason in _LATER if faults[name] == fault), None)
