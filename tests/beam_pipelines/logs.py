"""Randomised logs with everything that logs have, and their sessions found row by row.

The oracle is written from design decisions 1 to 3 in plain Python, without NumPy or Arrow.
"""

import dataclasses
import datetime
import random
from typing import Any

GAP = 20 * 60
DEVICES = ("unknown", "mobile", "desktop", "speaker", "web", "tablet", "other")
Row = dict[str, Any]


def random_rows(seed: int, *, users: int = 9, listens: int = 60) -> list[Row]:
    """Rows in random order: overlaps, gaps of exactly 20 minutes, ties, duplicates, nulls."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for user in range(users):
        time = 1_554_076_800 + rng.randrange(86_400)
        for _ in range(1 if user == 0 else rng.randrange(1, 2 * listens)):
            ms_played = rng.choice([None, 0, 999, 29_999, 30_000, 61_500, 240_000])
            row: Row = {
                # Ids that sort otherwise as text than as numbers, and need UTF-8.
                "user_id": f"ü{user * 37 % 101}/../u",
                "track_id": f"t{rng.randrange(25)}",
                "timestamp": time,
                "ms_played": ms_played,
                "skipped": rng.choice([None, None, True, False]),
                "device": rng.choice([None, "mobile", "Desktop", "speaker", "toaster", "web"]),
                "stream_source": rng.choice([None, "charts", "radio", "user playlist"]),
                "utc_offset_minutes": rng.choice([None, 0, 330, -720, 765]),
                "track_duration_ms": rng.choice([None, 100_000, 180_001]),
            }
            rows.append(row)
            if rng.random() < 0.08:
                rows.append({**row, "ms_played": rng.choice([None, 5, 400_000]), "device": "web"})
            end = time + (ms_played or 0) // 1000
            time = rng.choice(
                [
                    time,  # the same second
                    end - 1,  # an overlap, if it was played
                    end + GAP,  # exactly the gap
                    end + GAP - 1,
                    end + rng.randrange(90),
                    end + rng.randrange(90),
                    end + rng.randrange(8 * 3600),
                ]
            )
            time = max(time, row["timestamp"])
    rng.shuffle(rows)
    return rows


@dataclasses.dataclass
class Session:
    start: int
    day_of_week: int
    hour: int
    device: str
    stream_source: str | None
    seconds_since_last: int
    tracks: list[str]
    """All of them, not only the first ten."""
    skipped: list[bool]


def sessions_of(rows: list[Row], *, gap: int = GAP) -> dict[str, list[Session]]:
    """The sessions of each user, from rows in any order."""
    by_user: dict[str, list[Row]] = {}
    for row in rows:
        by_user.setdefault(row["user_id"], []).append(row)
    return {user: _sessions(without_duplicates(own), gap) for user, own in by_user.items()}


def without_duplicates(rows: list[Row]) -> list[Row]:
    """In order, of duplicates that which was played longest, then by the other columns."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["timestamp"], row["track_id"]), []).append(row)
    return [min(groups[key], key=_preference) for key in sorted(groups)]


def _preference(row: Row) -> tuple[Any, ...]:
    return (
        -_played(row),
        -1 if row["track_duration_ms"] is None else row["track_duration_ms"],
        row["utc_offset_minutes"] or 0,
        row["stream_source"] or "",
        DEVICES.index(_device(row["device"])),
        -1 if row["skipped"] is None else row["skipped"],
    )


def _played(row: Row) -> int:
    return -1 if row["ms_played"] is None else row["ms_played"]


def _sessions(rows: list[Row], gap: int) -> list[Session]:
    sessions: list[Session] = []
    last_end = None
    for index, row in enumerate(rows):
        following = rows[index + 1] if index + 1 < len(rows) else None
        start = row["timestamp"]
        if last_end is None or start - last_end >= gap:
            zone = datetime.timezone(datetime.timedelta(minutes=row["utc_offset_minutes"] or 0))
            local = datetime.datetime.fromtimestamp(start, zone)
            sessions.append(
                Session(
                    start=start,
                    day_of_week=local.weekday(),
                    hour=local.hour,
                    device=_device(row["device"]),
                    stream_source=row["stream_source"],
                    seconds_since_last=0 if last_end is None else start - last_end,
                    tracks=[],
                    skipped=[],
                )
            )
        sessions[-1].tracks.append(row["track_id"])
        sessions[-1].skipped.append(_is_skipped(row, following))
        last_end = start + max(_played(row), 0) // 1000
    return sessions


def _device(device: str | None) -> str:
    if device is None:
        return "unknown"
    return device.lower() if device.lower() in DEVICES else "other"


def _is_skipped(row: Row, following: Row | None) -> bool:
    if row["skipped"] is not None:
        return bool(row["skipped"])
    if row["ms_played"] is not None:
        return bool(row["ms_played"] < 30_000)
    if following is not None and row["track_duration_ms"] is not None:
        seconds = following["timestamp"] - row["timestamp"]
        return bool(seconds < row["track_duration_ms"] / 1000 / 2)
    return False
