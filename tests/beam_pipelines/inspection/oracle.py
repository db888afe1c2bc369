"""The statistics of session sequences by loops in plain Python, without NumPy."""

import datetime
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory

WEEK = 7 * 86_400
PERIOD_HOURS = {
    "night": range(1, 6),
    "early morning": range(6, 9),
    "morning": range(9, 12),
    "afternoon": range(12, 17),
    "evening": range(17, 21),
    "late evening": (21, 22, 23, 0),
}


@dataclass
class Session:
    user: int
    position: int
    start: int
    day: int
    hour: int
    device: int
    source: int
    num_tracks: int
    gap: int
    tracks: list[int]
    """As kept; -2 is cut."""
    skipped: list[int]


def sessions_of(table: SessionTable) -> list[Session]:
    """All sessions, from the columns as lists."""
    splits = table.row_splits.tolist()
    found = []
    for user in range(len(splits) - 1):
        for row in range(splits[user], splits[user + 1]):
            tracks = [track for track in table.track[row].tolist() if track != -1]
            found.append(
                Session(
                    user=user,
                    position=row - splits[user],
                    start=int(table.session_start[row]),
                    day=int(table.day_of_week[row]),
                    hour=int(table.hour[row]),
                    device=int(table.device[row]),
                    source=int(table.stream_source[row]),
                    num_tracks=int(table.num_tracks[row]),
                    gap=int(table.seconds_since_last[row]),
                    tracks=tracks,
                    skipped=table.skipped[row].tolist()[: len(tracks)],
                )
            )
    return found


def quantiles(values: Sequence[int]) -> dict[str, int | None]:
    """The least value of which at least so many percent are not above it."""
    ordered = sorted(values)
    found: dict[str, int | None] = {}
    for percent in (1, 5, 25, 50, 75, 95, 99):
        found[f"p{percent}"] = next(
            (v for n, v in enumerate(ordered, start=1) if 100 * n >= percent * len(ordered)), None
        )
    return found


def mean(values: Sequence[int]) -> float | None:
    return sum(values) / len(values) if values else None


def share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def gini(counts: Sequence[int]) -> float | None:
    """Half of the mean absolute difference of all pairs, by the mean."""
    if not sum(counts):
        return None
    differences = sum(abs(a - b) for a in counts for b in counts)
    return differences / (2 * len(counts) * sum(counts))


def contexts(names: Sequence[str], sessions: Sequence[Session], key: Any) -> list[dict]:
    rows = []
    for number, name in enumerate(names):
        own = [session for session in sessions if key(session) == number]
        kept = sum(len(session.tracks) for session in own)
        skipped = sum(sum(session.skipped) for session in own)
        rows.append(
            {
                "name": name,
                "sessions": len(own),
                "listens": sum(session.num_tracks for session in own),
                "kept_listens": kept,
                "skipped": skipped,
                "skip_rate": share(skipped, kept),
            }
        )
    return rows


def top(values: Sequence[int]) -> tuple[int, float | None]:
    """How many are 1 %, rounded up, and the share of the sum that the greatest so many have."""
    number = (len(values) + 99) // 100
    return number, share(sum(sorted(values, reverse=True)[:number]), sum(values))


def is_off_utc(session: Session) -> bool:
    moment = datetime.datetime.fromtimestamp(session.start, datetime.UTC)
    return (moment.weekday(), moment.hour) != (session.day, session.hour)


def expected(directory: SessionsDirectory, table: SessionTable) -> dict[str, Any]:
    """What `statistics.json` must say, but for the manifest's part, files and gaps' quantiles."""
    sessions = sessions_of(table)
    users = range(table.num_users)
    split = directory.manifest.split
    last = directory.manifest.last_timestamp

    def split_of(session: Session) -> int:
        return (session.start >= split.validation_start) + (session.start >= split.test_start)

    of_user = Counter(session.user for session in sessions)
    tested = {session.user for session in sessions if split_of(session) == 2}
    history = [
        sum(s.user == user and s.start < split.test_start for s in sessions) for user in tested
    ]
    kept = [(s.user, track) for s in sessions for track in s.tracks]
    known = [(user, track) for user, track in kept if track >= 0]
    listens = Counter(track for _, track in known)
    ranked = sorted(listens.values(), reverse=True)
    ages = Counter(age_name(age) for age in table.user_age.tolist())
    num_tracks = [session.num_tracks for session in sessions]
    gaps = [session.gap for session in sessions if session.position > 0]
    skipped = sum(sum(session.skipped) for session in sessions)
    heaviest, heaviest_share = top(list(of_user.values()))
    top_tracks, top_share = top(ranked)
    train_listens = directory.tracks["train_listens"].to_pylist()
    days = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    weeks = Counter((last - session.start) // WEEK for session in sessions)
    names = list(PERIOD_HOURS)
    return {
        "users": table.num_users,
        "users_with_age": sum(age >= 0 for age in table.user_age.tolist()),
        "ages": {name: ages[name] for name in AGES},
        "sessions": len(sessions),
        "listens": sum(num_tracks),
        "kept_listens": len(kept),
        "listens_cut": len(kept) - len(known),
        "skipped": skipped,
        "skip_rate": share(skipped, len(kept)),
        "tracks": len(train_listens),
        "step_seconds": math.gcd(*(s.start - sessions[0].start for s in sessions)) or None,
        "off_utc_share": share(sum(map(is_off_utc, sessions)), len(sessions)),
        "splits": [
            {
                "name": name,
                "start": (None, split.validation_start, split.test_start)[number],
                "users": len({s.user for s in sessions if split_of(s) == number}),
                "sessions": sum(split_of(s) == number for s in sessions),
                "listens": sum(s.num_tracks for s in sessions if split_of(s) == number),
            }
            for number, name in enumerate(("training", "validation", "test"))
        ],
        "sessions_per_user": distribution([of_user[user] for user in users]),
        "tracks_per_session": distribution(num_tracks),
        "distinct_tracks_per_user": distribution(
            [len({track for own, track in known if own == user}) for user in users]
        ),
        "history_at_test": distribution(history),
        "gap_seconds": {"count": len(gaps), "mean": mean(gaps)},
        "full_sessions_share": share(sum(n >= 10 for n in num_tracks), len(sessions)),
        "heaviest_users": heaviest,
        "heaviest_users_share": heaviest_share,
        "popularity": {
            "tracks": len(ranked),
            "top_tracks": top_tracks,
            "top_share": top_share,
            "gini": gini(ranked),
            "ranked": ranked,
            "tracks_not_in_training": sum(number == 0 for number in train_listens),
            "repeat_share": share(len(known) - len(set(known)), len(known)),
        },
        "devices": contexts(directory.devices, sessions, lambda s: s.device),
        "stream_sources": contexts(directory.stream_sources, sessions, lambda s: s.source),
        "days_of_week": contexts(days, sessions, lambda s: s.day),
        "hours": contexts([f"{hour:02d}" for hour in range(24)], sessions, lambda s: s.hour),
        "periods": contexts(
            names, sessions, lambda s: next(i for i, n in enumerate(names) if in_period(s, n))
        ),
        "sessions_by_day_and_hour": [
            [sum((s.day, s.hour) == (day, hour) for s in sessions) for hour in range(24)]
            for day in range(7)
        ],
        "weeks": [
            {"start": last + 1 - (week + 1) * WEEK, "sessions": weeks[week]}
            for week in range(max(weeks), -1, -1)
        ],
    }


def in_period(session: Session, name: str) -> bool:
    return session.hour in PERIOD_HOURS[name]


AGES = ("unknown", "0-17", "18-24", "25-29", "30-34", "35-44", "45-54", "55 and above")


def age_name(age: int) -> str:
    if age < 0:
        return "unknown"
    last = (17, 24, 29, 34, 44, 54)
    return next((name for name, end in zip(AGES[1:], last, strict=False) if age <= end), AGES[-1])


def distribution(values: Sequence[int]) -> dict[str, Any]:
    counts = Counter(values)
    return {
        "count": len(values),
        "mean": mean(values),
        "minimum": min(values, default=None),
        "maximum": max(values, default=None),
        "quantiles": quantiles(values),
        "exact": True,
        "values": sorted(counts),
        "counts": [counts[value] for value in sorted(counts)],
    }
