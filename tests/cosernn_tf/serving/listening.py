"""Random listens with all that makes sessions hard, and the pipeline's sessions of them."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.rules.buckets import Bucket, bucket_of
from beam_pipelines.rules.checks import CLEAN_SCHEMA
from beam_pipelines.transforms.sequence import sequence_bucket
from cosernn_tf.schema import AGE_UNKNOWN, DEVICES, SESSION_GAP_SECONDS
from cosernn_tf.serving.listens import Listen
from cosernn_tf.sessions import NULL, recode
from cosernn_tf.table import SessionTable
from tests.workspaces import FIRST_SECOND, STREAM_SOURCES

UNKNOWN_TRACK = "nowhere"


def random_listens(
    seed: int,
    *,
    users: Sequence[str] = ("user-1", "user-3", "ada", "bob"),
    sessions: int = 8,
    first: int = FIRST_SECOND,
    is_short: bool = False,
) -> list[Listen]:
    """By user and time, no two with the same key.

    Some start in the same second, overlap, come exactly `SESSION_GAP_SECONDS` after another or a
    second earlier; some are of unknown tracks; some do not say how long they were played, or
    whether they were skipped, or how long the track is: of a few, longer than a break.

    Args:
        seed: Of all that is random.
        users: Who listen.
        sessions: Of each user.
        first: UTC second after which they start.
        is_short: Sessions are shorter than a break, so that each of their listens is in the same
            session as any other, whatever is between.
    """
    random = np.random.default_rng(seed)
    found = []
    for user in users:
        end = first + int(random.integers(0, 10_000))
        for _ in range(sessions):
            gap = int(random.choice([SESSION_GAP_SECONDS, 2_000, 3_600, 40_000]))
            start = end + gap
            device = random.choice(["mobile", "Desktop", "speaker", "fridge"])
            source = random.choice([*STREAM_SOURCES[1:], "radio"])
            offset = int(random.choice([0, 120, -300]))
            for _ in range(random.integers(1, 6 if is_short else 15)):
                track = f"track-{random.integers(0, 40)}"
                played = int(random.choice([5, 45, 200]))
                found.append(
                    Listen(
                        user,
                        UNKNOWN_TRACK if random.random() < 0.1 else track,
                        start,
                        ms_played=None if random.random() < 0.4 else 1_000 * played + 7,
                        skipped=None if random.random() < 0.7 else bool(random.random() < 0.5),
                        device=None if random.random() < 0.2 else str(device),
                        stream_source=None if random.random() < 0.2 else str(source),
                        utc_offset_minutes=None if random.random() < 0.2 else offset,
                        track_duration_ms=None
                        if random.random() < 0.3
                        else int(random.choice([180_000, 240_000, 4_000_000])),
                    )
                )
                end = start + (0 if found[-1].ms_played is None else played)
                step = [0, played, played - 3, SESSION_GAP_SECONDS - 1]
                break_share = 0.0 if is_short else 0.1
                start += int(random.choice(step, p=[0.15, 0.65 - break_share, 0.2, break_share]))
    return list({listen.key: listen for listen in found}.values())


def bucketed(listens: Iterable[Listen]) -> Bucket:
    """As the pipeline has them once they are clean."""
    rows = list(listens)
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows]
        for name in ("user_id", "track_id", "timestamp", "stream_source")
    }
    for name in ("ms_played", "skipped", "track_duration_ms"):
        values = [getattr(row, name) for row in rows]
        columns[name] = [NULL if value is None else int(value) for value in values]
    names = ["unknown" if row.device is None else row.device.lower() for row in rows]
    other = DEVICES.index("other")
    columns["device"] = [DEVICES.index(n) if n in DEVICES else other for n in names]
    columns["utc_offset_minutes"] = [row.utc_offset_minutes or 0 for row in rows]
    table = pa.table({name: columns[name] for name in CLEAN_SCHEMA.names}, CLEAN_SCHEMA)
    return bucket_of(table)


def sequenced(listens: Iterable[Listen]) -> SessionTable:
    """The sessions that the pipeline makes of them, in the vocabularies of `tests.workspaces`."""
    bucket = bucketed(listens)
    ages = np.full(len(bucket.user_id), AGE_UNKNOWN)
    sessions, _ = sequence_bucket(bucket, ages, gap_seconds=SESSION_GAP_SECONDS)
    tracks = [
        -2 if track == UNKNOWN_TRACK else int(track.removeprefix("track-"))
        for track in bucket.track_id.to_pylist()
    ]
    sources = [
        STREAM_SOURCES.index(name) if name in STREAM_SOURCES else 0
        for name in bucket.stream_source.to_pylist()
    ]
    return recode(sessions.table, track=np.array(tracks), stream_source=np.array([*sources, 0]))


def of_sessions(listens: Sequence[Listen], table: SessionTable) -> list[list[Listen]]:
    """The listens of each session of the table."""
    found: list[list[Listen]] = [[] for _ in range(table.num_sessions)]
    for row, user in enumerate(table.user_id):
        first, end = table.row_splits[row : row + 2]
        for listen in listens:
            if listen.user_id.encode() == user:
                place = np.searchsorted(table.session_start[first:end], listen.timestamp, "right")
                found[first + place - 1].append(listen)
    assert [len(own) for own in found] == table.num_tracks.tolist()
    return found


def shuffled(listens: Sequence[Listen], seed: int) -> list[Listen]:
    order = np.random.default_rng(seed).permutation(len(listens))
    return [listens[row] for row in order]


def longer(listen: Listen, milliseconds: int) -> Listen:
    return dataclasses.replace(listen, ms_played=milliseconds)
