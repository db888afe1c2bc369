"""Listens as they come, one by one, and as columns for the session rules of the pipeline."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import numpy as np

from cosernn_tf.config import require
from cosernn_tf.schema import DEVICES
from cosernn_tf.sessions import NULL, Listens

LAST_TIMESTAMP: Final = 4_133_894_400
"""31 December 2100, UTC: a later time is one in milliseconds, most likely."""
MAX_UTC_OFFSET_MINUTES: Final = 18 * 60
MAX_TEXT_BYTES: Final = 64 * 1024
"""Of an id or a name, in UTF-8."""
MAX_MILLISECONDS: Final = 2**53
"""Beyond is no time that anybody listens, and beyond what JSON numbers are exact to."""

_OTHER: Final = DEVICES.index("other")
_ROW_OF_DEVICE: Final = {name: row for row, name in enumerate(DEVICES)}

Key = tuple[str, str, int]
"""User, track and timestamp: two listens that have them in common are one (decision 1)."""


@dataclass(frozen=True, slots=True)
class Listen:
    """One play event, as a row of the listening log (`schema.LISTEN_COLUMNS`); None is null.

    Raises:
        UserError: A value that `beam_pipelines.sessionize` would reject.
    """

    user_id: str
    track_id: str
    timestamp: int
    """Start, UTC seconds."""
    ms_played: int | None = None
    skipped: bool | None = None
    device: str | None = None
    stream_source: str | None = None
    utc_offset_minutes: int | None = None
    track_duration_ms: int | None = None

    def __post_init__(self) -> None:
        for name in ("user_id", "track_id", "device", "stream_source"):
            text = getattr(self, name)
            if text is not None:
                _check_text(name, text)
        for name in ("user_id", "track_id"):
            require(bool(getattr(self, name)), f"{name} is empty")
        _check_range("timestamp", self.timestamp, 0, LAST_TIMESTAMP)
        for name in ("ms_played", "track_duration_ms"):
            _check_range(name, getattr(self, name), 0, MAX_MILLISECONDS)
        limit = MAX_UTC_OFFSET_MINUTES
        _check_range("utc_offset_minutes", self.utc_offset_minutes, -limit, limit)

    @property
    def key(self) -> Key:
        return self.user_id, self.track_id, self.timestamp


def _check_text(name: str, text: str) -> None:
    if text.isascii():
        size = len(text)
    else:
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            require(False, f"{name} is no text in UTF-8")
    require(size <= MAX_TEXT_BYTES, f"{name} has more than {MAX_TEXT_BYTES:,} bytes")


def _check_range(name: str, value: int | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        require(False, f"{name}={value} is not from {least} to {most}")


@dataclass(frozen=True, slots=True)
class Context:
    """Of a session that is about to start."""

    at: datetime
    """When; its UTC offset is that of the user's clock."""
    device: str
    """Of the device vocabulary."""
    stream_source: str | None = None
    """Of the vocabulary, for runs with the feature current_stream_source; None: unknown."""


class Outcome(StrEnum):
    """What became of a listen."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    """It is known already; the longer play of two in the open session stays."""
    LATE = "late"
    """It would belong to a session that is closed: kept, but no part of the user's state."""


def preferred(one: Listen, other: Listen) -> Listen:
    """Of two listens with the same key the one that `sessions.in_order` keeps."""
    return min(one, other, key=_preference)


def _preference(listen: Listen) -> tuple[Any, ...]:
    """Least of the one played longest, then by the other columns, the last one first."""
    return (
        -_or_null(listen.ms_played),
        _or_null(listen.track_duration_ms),
        listen.utc_offset_minutes or 0,
        # Null is before any name.
        () if listen.stream_source is None else (listen.stream_source,),
        _device_row(listen.device),
        _or_null(listen.skipped),
    )


@dataclass(frozen=True)
class Columns:
    """Listens of users, as the session rules take them, and what the codes in them stand for."""

    listens: Listens
    """In order (`sessions.in_order`), without duplicates."""
    tracks: tuple[str, ...]
    stream_sources: tuple[str, ...]


def columns(listens: Sequence[Sequence[Listen]]) -> Columns:
    """The columns of several users' listens.

    Args:
        listens: Of each user one or more, `ordered`, no two with the same key. The number of a user
            here is its code.
    """
    rows = [listen for own in listens for listen in own]
    tracks = sorted({listen.track_id for listen in rows})
    sources = sorted({row.stream_source for row in rows if row.stream_source is not None})
    code_of_track = {track: code for code, track in enumerate(tracks)}
    code_of_source: dict[str | None, int] = {source: code for code, source in enumerate(sources)}
    code_of_source[None] = NULL
    user = np.repeat(np.arange(len(listens)), [len(own) for own in listens])

    def column(value: Callable[[Listen], int]) -> np.ndarray:
        return np.fromiter(map(value, rows), np.int64, len(rows))

    found = Listens(
        user=user,
        track=column(lambda row: code_of_track[row.track_id]),
        timestamp=column(lambda row: row.timestamp),
        ms_played=column(lambda row: _or_null(row.ms_played)),
        skipped=column(lambda row: _or_null(row.skipped)),
        device=column(lambda row: _device_row(row.device)),
        stream_source=column(lambda row: code_of_source[row.stream_source]),
        utc_offset_minutes=column(lambda row: row.utc_offset_minutes or 0),
        track_duration_ms=column(lambda row: _or_null(row.track_duration_ms)),
    )
    return Columns(found, tuple(tracks), tuple(sources))


def ordered(listens: Iterable[Listen]) -> list[Listen]:
    """By time and track (decision 1)."""
    # Python orders text by code points, which is the order of its UTF-8.
    return sorted(listens, key=lambda listen: (listen.timestamp, listen.track_id))


def start_of(listen: Listen) -> tuple[Any, ...]:
    """What of a listen says how a session starts: when, and in which context."""
    return (
        listen.timestamp,
        listen.utc_offset_minutes or 0,
        _device_row(listen.device),
        listen.stream_source,
    )


def _or_null(value: int | None) -> int:
    return NULL if value is None else value


def _device_row(name: str | None) -> int:
    """As the pipeline has it: whatever the case, and `other` if it is none of the vocabulary."""
    if name is None:
        return 0
    row = _ROW_OF_DEVICE.get(name)
    return _ROW_OF_DEVICE.get(name.lower(), _OTHER) if row is None else row


FIELDS: Final = tuple(field.name for field in fields(Listen))
"""Of a listen, as a store writes them."""


def values(listen: Listen) -> tuple[Any, ...]:
    """In the order of `FIELDS`."""
    return tuple(getattr(listen, name) for name in FIELDS)
