"""Logs in two parts, and outputs to which the second is added."""

import json
import random
from pathlib import Path

from beam_pipelines.append import inherit
from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from cosernn_tf.workspace import open_sessions

from .files import files_of
from .logs import Row, random_rows, sessions_of

DAY = 86_400


def spread(seed: int, *, users: int = 9) -> list[Row]:
    """Enough days for three splits; users begin at different times and pause for weeks."""
    rng = random.Random(seed)
    rows = random_rows(seed, users=users, listens=40)
    shift = {row["user_id"]: rng.randrange(30) for row in rows}
    pauses = [0, 0, 5, 15, 30, 45]
    return [
        {**row, "timestamp": row["timestamp"] + (shift[row["user_id"]] + rng.choice(pauses)) * DAY}
        for row in rows
    ]


def reopened(rows: list[Row], *, days: int = 19) -> dict[str, int]:
    """By user with a frozen session, when the user is reopened, from the definition."""
    boundary = max(row["timestamp"] for row in rows) - days * DAY
    found = {}
    for user, sessions in sessions_of(rows).items():
        later = [session.start for session in sessions if session.start >= boundary]
        start = min([*later, sessions[-1].start])
        if start != sessions[0].start:
            found[user] = start
    return found


def is_in_time(row: Row, since: dict[str, int]) -> bool:
    return row["timestamp"] >= since.get(row["user_id"], 0)


def divided(
    rows: list[Row], cut: int, rng: random.Random, *, days: int = 19, pause: int = 0
) -> tuple[list[Row], list[Row]]:
    """Older and newer rows: by time, ties at random, some of the newer ones late but in time.

    The late ones are at least `pause` seconds from the end of the older ones.
    """
    is_older = [
        r["timestamp"] < cut or (r["timestamp"] == cut and rng.random() < 0.5) for r in rows
    ]
    older = [row for row, early in zip(rows, is_older, strict=True) if early]
    newer = [row for row, early in zip(rows, is_older, strict=True) if not early]
    last = max(row["timestamp"] for row in older) - pause
    for attempt in range(1, 200):
        since = reopened(older, days=days)
        is_late = [
            is_in_time(row, since) and row["timestamp"] < last and rng.random() < 1 / attempt
            for row in older
        ]
        kept = [row for row, late in zip(older, is_late, strict=True) if not late]
        late = [row for row, late in zip(older, is_late, strict=True) if late]
        since = reopened(kept, days=days)
        if late and all(is_in_time(row, since) for row in [*late, *newer]):
            return kept, [*newer, *late]
    raise AssertionError("no such rows")


def config_of(output: Path, logs: list[Path], **options) -> SessionizeConfig:
    return SessionizeConfig(
        listens=tuple(map(str, logs)), output=output, **{"num_shards": 2, **options}
    )


def add(output: Path, log: Path, **options) -> None:
    """Appends a log, with the options that the output has."""
    options = {"max_bad_fraction": 1.0, "append": True, **options}
    sessionize(inherit(SessionizeConfig(listens=(str(log),), output=output, **options), {}))


def content(output: Path) -> dict[str, bytes]:
    """Of an output that is finished."""
    open_sessions(output)
    return files_of(output)


def assert_equal(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert sorted(found) == sorted(expected)
    for name, data in expected.items():
        assert found[name] == data, name


def bad(number: int) -> list[Row]:
    return [{"user_id": f"bad {number}", "track_id": None, "timestamp": 5}, {"timestamp": number}]


def counters_of(output: Path) -> dict[str, int]:
    return dict(open_sessions(output).manifest.counters)


def rejected_of(output: Path) -> list[dict]:
    paths = sorted(output.glob("rejected.jsonl-*"))
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]
