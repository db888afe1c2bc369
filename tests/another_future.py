"""Two listening logs that are the same until validation starts, and differ in all that follows."""

import random
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from cosernn_tf.schema import (
    LISTEN_SCHEMA,
    SECONDS_PER_DAY,
    TEST_DAYS,
    USER_SCHEMA,
    VALIDATION_DAYS,
)
from cosernn_tf.workspace import Workspace
from tests.beam_pipelines.logs import Row

LAST = 1_559_347_200
"""The last listen of both logs, from which the boundaries of the splits are counted."""
VALIDATION_START = LAST - (TEST_DAYS + VALIDATION_DAYS) * SECONDS_PER_DAY
_FIRST = VALIDATION_START - 20 * SECONDS_PER_DAY
_MARGIN = 7_200
"""Longer than any session and the inactivity after it."""


@dataclass(frozen=True)
class Style:
    """What listens are drawn from."""

    users: tuple[str, ...]
    tracks: tuple[str, ...]
    devices: tuple[str | None, ...]
    sources: tuple[str | None, ...]
    sessions: int
    longest: int
    """Listens in a session."""
    offsets: tuple[int | None, ...]
    skipped: tuple[bool | None, ...] = (None, True, False)
    ms_played: tuple[int | None, ...] = (None, 9_000, 29_999, 61_500, 180_000)


USERS = tuple(f"user-{number}" for number in range(14))
"""Those of the past."""
PAST = Style(
    users=USERS,
    tracks=tuple(f"track-{number % 40}" for number in range(60)),
    devices=("mobile", "mobile", "desktop", "speaker"),
    sources=("charts", "radio", "radio", None),
    sessions=420,
    longest=8,
    offsets=(0, 60),
)
FUTURES = {
    "a": Style(
        users=(*USERS[:10], *(f"later-{number}" for number in range(4))),
        tracks=tuple(f"track-{number}" for number in range(45)),
        devices=("mobile", "desktop"),
        sources=("charts", "radio"),
        sessions=150,
        longest=6,
        offsets=(0,),
    ),
    # The rarest tracks of the past are the most frequent ones of this future.
    "b": Style(
        users=(*USERS[6:], *(f"newcomer-{number}" for number in range(30))),
        tracks=(*(f"track-{number}" for number in range(30, 40)) , *(f"new-{n}" for n in range(9))),
        devices=("tablet", "web", None, "toaster"),
        sources=("unheard of", "radio", "never before", "algorithm"),
        sessions=900,
        longest=20,
        offsets=(-480, 765),
        skipped=(True, False),
        ms_played=(200_000, 400_000),
    ),
}  # fmt: skip


def write_workspace(root: Path, future: str) -> Workspace:
    """Sessions of the log with this future, made by the job."""
    rows = _past() + _sessions(FUTURES[future], seed=ord(future), first=VALIDATION_START + _MARGIN)
    rows.append({**rows[-1], "timestamp": LAST, "ms_played": None})
    random.Random(future).shuffle(rows)
    root.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, LISTEN_SCHEMA), root / "listens.parquet")
    pq.write_table(pa.Table.from_pylist(_ages(future), USER_SCHEMA), root / "users.parquet")
    workspace = Workspace(root)
    sessionize(
        SessionizeConfig(
            listens=(str(root / "listens.parquet"),),
            users=str(root / "users.parquet"),
            output=workspace.sessions,
        )
    )
    return workspace


def _past() -> list[Row]:
    """Everything that starts before validation does; one session of it goes on after that."""
    rows = _sessions(PAST, seed=0, first=_FIRST, before=VALIDATION_START - _MARGIN)
    template = rows[0]
    return rows + [
        {**template, "track_id": f"track-{number}", "timestamp": VALIDATION_START + second}
        for number, second in enumerate((-400, -100, 200, 500))
    ]


def _sessions(style: Style, *, seed: int, first: int, before: int = LAST - _MARGIN) -> list[Row]:
    rng = random.Random(seed)
    rows: list[Row] = []
    for number in range(style.sessions):
        # Everybody has a session.
        user = style.users[number % len(style.users)] if number < 60 else rng.choice(style.users)
        time = rng.randrange(first, before)
        device, source, offset = map(rng.choice, (style.devices, style.sources, style.offsets))
        # Tracks of a kind go together, else word2vec would learn nothing.
        tracks = style.tracks[rng.randrange(4) :: 4]
        for _ in range(rng.randint(1, style.longest)):
            rows.append(
                {
                    "user_id": user,
                    "track_id": rng.choice(tracks),
                    "timestamp": time,
                    "ms_played": rng.choice(style.ms_played),
                    "skipped": rng.choice(style.skipped),
                    "device": device,
                    "stream_source": source,
                    "utc_offset_minutes": offset,
                    "track_duration_ms": rng.choice((None, 200_000)),
                }
            )
            time += rng.randrange(30, 240)
    return rows


def _ages(future: str) -> list[Row]:
    """Of all users: those of the past have the same, the others have not."""
    others = sorted(set(FUTURES[future].users) - set(USERS))
    return [
        {"user_id": user, "age": (15 + 5 * number) if user in USERS else 90 + ord(future) % 5}
        for number, user in enumerate((*USERS, *others))
    ]
