"""The statistics as tables: what is printed, and what the data card has in Markdown."""

import datetime
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from beam_pipelines.inspection.statistics import Context, Distribution, Statistics
from beam_pipelines.rules.refusals import rejected_users
from beam_pipelines.rules.tally import DUPLICATES, KEPT, READ, USERS_READ
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SECONDS_PER_DAY, UNKNOWN

ABSENT: Final = "-"

_MAX_NAMES: Final = 20
"""Rows of a table of contexts; further ones are summed in one."""
_MAX_WIDTH: Final = 40
_GAP: Final = "  "

_RULES: Final = {
    "given": "said in the log",
    "from_ms_played": "from the time played: less than 30 seconds is skipped",
    "from_next_listen": "from the next listen: within half of the track is skipped",
    "assumed_played": "nothing known: counts as played",
}


@dataclass(frozen=True)
class Table:
    """Rows of text, the first column of which names the row."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_text(self) -> str:
        """Fixed width: names on the left, numbers on the right."""
        lines = [(self.title, *self.heads[1:]), *self.rows]
        widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
        text = []
        for name, *cells in lines:
            right = (f"{_GAP}{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True))
            text.append(name + " " * (widths[0] - _columns(name)) + "".join(right))
        text.insert(1, "-" * (sum(widths) + len(_GAP) * (len(widths) - 1)))
        return "\n".join([*text, *([self.note] if self.note else [])]) + "\n"

    def to_markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.heads) - 1)]
        lines = [self.heads, rule, *[tuple(map(escaped, row)) for row in self.rows]]
        text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        return f"{text}\n{self.note}\n" if self.note else text


def format_text(statistics: Statistics) -> str:
    """All tables, to be printed."""
    return "\n".join(table.to_text() for table in all_tables(statistics))


def all_tables(statistics: Statistics) -> list[Table]:
    tables = [
        sizes(statistics),
        splits(statistics),
        rows_of_the_log(statistics),
        rows_of_users(statistics),
        skip_rules(statistics),
        distributions(statistics),
        concentration(statistics),
        ages(statistics),
        *contexts(statistics),
    ]
    return [table for table in tables if table.rows]


def sizes(statistics: Statistics) -> Table:
    return Table(
        "Sizes",
        ("what", "number"),
        (
            ("users", number(statistics.users)),
            ("users of known age", number(statistics.users_with_age)),
            ("sessions", number(statistics.sessions)),
            ("listens", number(statistics.listens)),
            (
                f"listens in the records, the first {MAX_TRACKS_PER_SESSION} of each session",
                number(statistics.kept_listens),
            ),
            ("tracks in the vocabulary", number(statistics.tracks)),
            (
                "stream sources",
                number(sum(c.name != UNKNOWN for c in statistics.stream_sources)),
            ),
            ("first listen, UTC", date_and_time(statistics.first_timestamp)),
            ("last listen, UTC", date_and_time(statistics.last_timestamp)),
            ("days between them", f"{statistics.days:,.1f}"),
            (f"size of the shards ({statistics.shards:,})", size(statistics.bytes)),
        ),
    )


def splits(statistics: Statistics) -> Table:
    return Table(
        "Splits",
        ("split", "from (UTC)", "users", "sessions", "share", "listens"),
        tuple(
            (
                split.name,
                "the beginning" if split.start is None else date_and_time(split.start),
                number(split.users),
                number(split.sessions),
                percent(split.sessions, statistics.sessions),
                number(split.listens),
            )
            for split in statistics.splits
        ),
        note="A session belongs to the split in which it starts.",
    )


def rows_of_the_log(statistics: Statistics) -> Table:
    """Every row that was read: kept, a duplicate, or rejected for a reason."""
    counters = statistics.counters
    rows = {name: counters[name] for name in (READ, KEPT, DUPLICATES) if name in counters}
    rows |= {f"rejected: {_words(name)}": count for name, count in statistics.rejected.items()}
    read = counters.get(READ, 0)
    return Table(
        "Rows of the log",
        ("rows", "number", "share"),
        tuple((name, number(count), percent(count, read)) for name, count in rows.items()),
    )


def rows_of_users(statistics: Statistics) -> Table:
    """What became of the rows of `--users`; no rows where there was no such file."""
    counters = statistics.counters
    names = {
        USERS_READ: "read",
        "users_duplicates": "of users who were named before",
        "users_without_listens": "of users who are not in the log",
    }
    reasons = rejected_users(counters)
    rows = {text: counters.get(name, 0) for name, text in names.items()}
    rows |= {f"rejected: {_words(name)}": count for name, count in reasons.items()}
    read = counters.get(USERS_READ, 0)
    return Table(
        "Rows of users",
        ("rows", "number", "share"),
        tuple((name, number(count), percent(count, read)) for name, count in rows.items() if read),
    )


def skip_rules(statistics: Statistics) -> Table:
    total = sum(statistics.skip_rules.values())
    return Table(
        "What decides that a listen is skipped",
        ("rule", "listens", "share"),
        tuple(
            (text, number(count), percent(count, total))
            for rule, text in _RULES.items()
            if (count := statistics.skip_rules.get(rule, 0))
        ),
    )


def distributions(statistics: Statistics) -> Table:
    def row(name: str, values: Distribution) -> tuple[str, ...]:
        mean = ABSENT if values.mean is None else f"{values.mean:,.2f}"
        numbers = (values.minimum, *values.quantiles.values(), values.maximum)
        return (name, number(values.count), mean, *map(number, numbers))

    def gaps(values: Distribution) -> tuple[str, ...]:
        numbers = (values.mean, values.minimum, *values.quantiles.values(), values.maximum)
        return ("gap between sessions", number(values.count), *map(duration, numbers))

    percents = statistics.sessions_per_user.quantiles
    return Table(
        "Distributions",
        ("of", "number", "mean", "least", *percents, "most"),
        (
            row("sessions a user", statistics.sessions_per_user),
            row("tracks a session", statistics.tracks_per_session),
            row("distinct tracks a user", statistics.distinct_tracks_per_user),
            gaps(statistics.gap_seconds),
            row("earlier sessions of test users", statistics.history_at_test),
        ),
        note="p5: 5 % are at most so many. Those of gaps are right to 0.1 %, the others exact; "
        "distinct tracks are of the listens in the records.",
    )


def concentration(statistics: Statistics) -> Table:
    popularity = statistics.popularity
    most = statistics.sessions_per_user.maximum or 0
    heaviest = f"sessions of the heaviest 1 % of users ({statistics.heaviest_users:,})"
    top = f"listens to the top 1 % of tracks ({popularity.top_tracks:,})"
    gini = ABSENT if popularity.gini is None else f"{popularity.gini:.3f}"
    return Table(
        "Concentration",
        ("what", "share"),
        (
            ("sessions of the heaviest user", percent(most, statistics.sessions)),
            (heaviest, share(statistics.heaviest_users_share)),
            (top, share(popularity.top_share)),
            ("Gini coefficient of listens to tracks", gini),
            ("listens to a track that the user has had before", share(popularity.repeat_share)),
            (
                f"sessions with {MAX_TRACKS_PER_SESSION} tracks or more",
                share(statistics.full_sessions_share),
            ),
            (
                "tracks without a listen in training",
                percent(popularity.tracks_not_in_training, statistics.tracks),
            ),
        ),
        note="Tracks are those of the listens in the records.",
    )


def ages(statistics: Statistics) -> Table:
    return Table(
        "Users by age",
        ("age", "users", "share"),
        tuple(
            (name, number(users), percent(users, statistics.users))
            for name, users in statistics.ages.items()
            if statistics.users_with_age
        ),
    )


def contexts(statistics: Statistics) -> list[Table]:
    """Devices, stream sources, days, periods and hours, with the sessions that they begin."""
    return [
        _contexts("Device", _by_sessions(statistics.devices), statistics),
        _contexts("Stream source", _by_sessions(statistics.stream_sources), statistics),
        _contexts("Day of week", statistics.days_of_week, statistics),
        _contexts("Period of day", statistics.periods, statistics),
        _contexts("Hour", statistics.hours, statistics),
    ]


def _by_sessions(contexts: Sequence[Context]) -> list[Context]:
    """Those that occur, the most frequent first; beyond `_MAX_NAMES` they become one."""
    occurring = [context for context in contexts if context.sessions]
    ordered = sorted(occurring, key=lambda context: -context.sessions)
    shown, rest = ordered[:_MAX_NAMES], ordered[_MAX_NAMES:]
    if not rest:
        return shown
    name = f"{len(rest):,} others"
    listens, kept, skipped = (
        sum(getattr(context, field) for context in rest)
        for field in ("listens", "kept_listens", "skipped")
    )
    num_sessions = sum(context.sessions for context in rest)
    return [*shown, Context(name, num_sessions, listens, kept, skipped, skipped / kept)]


def _contexts(title: str, values: Sequence[Context], statistics: Statistics) -> Table:
    return Table(
        title,
        (title.lower(), "sessions", "share", "listens", "share", "skip rate"),
        tuple(
            (
                one_line(context.name),
                number(context.sessions),
                percent(context.sessions, statistics.sessions),
                number(context.listens),
                percent(context.listens, statistics.listens),
                share(context.skip_rate),
            )
            for context in values
        ),
    )


# Text --------------------------------------------------------------------------------------------


def number(value: int | None) -> str:
    return ABSENT if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """In percent; a little is not nothing, and almost all not all."""
    if value is None:
        return ABSENT
    text = f"{100 * value:.1f} %"
    if text == "0.0 %" and value > 0:
        return "< 0.1 %"
    return "> 99.9 %" if text == "100.0 %" and value < 1 else text


def percent(part: int, whole: int) -> str:
    return share(part / whole if whole else None)


def size(num_bytes: int) -> str:
    for unit, length in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= length:
            return f"{num_bytes / length:,.1f} {unit}"
    return f"{num_bytes / 1e3:,.1f} kB"


def duration(seconds: float | None) -> str:
    """In a unit that a person would choose."""
    if seconds is None:
        return ABSENT
    for unit, length in (("days", SECONDS_PER_DAY), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def date_and_time(timestamp: int) -> str:
    moment = datetime.datetime.fromtimestamp(timestamp, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def one_line(text: str, *, width: int = _MAX_WIDTH) -> str:
    """The text without what could break a line or a terminal, cut where it is long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = " ".join(shown.split()) or "(blank)"
    return shown if len(shown) <= width else shown[: width - 1] + "…"


def escaped(text: str) -> str:
    r"""The text with a backslash where Markdown would take a character for its own.

    >>> escaped("user_playlist | *new*")
    'user_playlist \\| \\*new\\*'
    """
    return re.sub(r"(?<!\w)_|_(?!\w)|[\\|<>*`\[\]#$~&]", r"\\\g<0>", text)


def _columns(text: str) -> int:
    """Of a terminal, in which East Asian characters and emoji take two."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def _words(name: str) -> str:
    return name.replace("_", " ")


def bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
