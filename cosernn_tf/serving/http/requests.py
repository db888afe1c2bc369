"""What requests may hold, and the sentence that says what is wrong with one.

The models are also the OpenAPI description. What depends on the clock or on the run is checked in
plain code below them.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cosernn_tf.errors import UserError
from cosernn_tf.rfc3339 import parse_time
from cosernn_tf.schema import DEVICES, SECONDS_PER_DAY
from cosernn_tf.serving.listens import Listen

MAX_ID_LENGTH: Final = 512
MAX_LISTENS: Final = 1_000
MAX_K: Final = 1_000
MAX_SESSIONS: Final = 200
MAX_USERS: Final = 1_000
MAX_MS: Final = 1_000 * SECONDS_PER_DAY
MAX_OFFSET_MINUTES: Final = 18 * 60
LAST_SECOND: Final = 4_102_444_800
"""1 January 2100: a later time is most likely in milliseconds."""


class BadRequestError(Exception):
    """A request that cannot be answered; the message says what, where, and what to do."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


def _seconds(value: object) -> object:
    """UTC seconds of RFC 3339 text; anything else as it is, for the type to be checked."""
    if not isinstance(value, str):
        return value
    try:
        return int(zoned(value).timestamp())
    except UserError as error:
        raise ValueError(str(error)) from error


def zoned(text: str) -> datetime:
    """An RFC 3339 time that has an offset.

    Raises:
        UserError: It is something else.
    """
    # An unescaped + of a query arrives as a space.
    if len(text) > 6 and text[-6] == " " and text[-3] == ":":
        raise UserError(f"{text!r} has a space before its offset: write a + in a URL as %2B")
    try:
        moment = parse_time(text, flag="at")
    except UserError as error:
        raise UserError(
            f"{text[:64]!r} is no date and time: write it like 2019-06-01T08:00:00+02:00"
        ) from error
    if text[-1] not in "Zz" and text[-6:-5] not in ("+", "-"):
        raise UserError(
            f"{text!r} has no offset, which the user's day and hour are told by: write it like "
            "2019-06-01T08:00:00+02:00"
        )
    return moment


_Rfc3339 = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]
Name = Annotated[str, Field(max_length=MAX_ID_LENGTH)]
Milliseconds = Annotated[int, Field(ge=0, le=MAX_MS)]


class ListenBody(BaseModel):
    """One listen, as in the canonical log."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: Id
    track_id: Id
    timestamp: Annotated[
        int,
        BeforeValidator(_seconds, json_schema_input_type=int | _Rfc3339),
        Field(
            ge=0,
            lt=LAST_SECOND,
            description="Start of the listen: UTC seconds, or RFC 3339 text with an offset. At "
            "most a day ahead of the server's clock.",
        ),
    ]
    ms_played: Milliseconds | None = None
    skipped: bool | None = None
    device: Name | None = Field(
        None, description="Of the names of devices; any other counts as `other`."
    )
    stream_source: Name | None = None
    utc_offset_minutes: Annotated[int, Field(ge=-MAX_OFFSET_MINUTES, le=MAX_OFFSET_MINUTES)] | (
        None
    ) = None
    track_duration_ms: Milliseconds | None = None

    def to_listen(self) -> Listen:
        return Listen(**self.__dict__)


class ListensBody(BaseModel):
    """Listens of any users, in any order."""

    model_config = ConfigDict(extra="forbid", strict=True)

    listens: Annotated[list[ListenBody], Field(max_length=MAX_LISTENS)]


class RecommendQuery(BaseModel):
    """The session that is about to start."""

    model_config = ConfigDict(extra="forbid")

    device: str = Field(
        description="On which the session starts.", json_schema_extra={"enum": list(DEVICES)}
    )
    at: str | None = Field(
        None,
        description="When it starts, RFC 3339; its offset is that of the user's clock. By default "
        "now, in UTC.",
        json_schema_extra={"format": "date-time"},
    )
    k: Annotated[int, Field(ge=1, le=MAX_K, description="Number of tracks.")] = 10
    stream_source: str | None = Field(
        None,
        description="Where playback will be started from, of the vocabulary; for runs that were "
        "trained with current_stream_source.",
    )
    exclude_heard: bool = Field(False, description="Leave out what the user has listened to.")
    embedding: bool = Field(False, description="Also answer with the predicted embedding.")


class HistoryQuery(BaseModel):
    """How much of a user's past is wanted."""

    model_config = ConfigDict(extra="forbid")

    last: Annotated[int, Field(ge=1, le=MAX_SESSIONS, description="Number of sessions.")] = 20


class UsersQuery(BaseModel):
    """How many users are wanted."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=1, le=MAX_USERS, description="Number of users.")] = 20


def start_of(at: str | None) -> datetime:
    """When the session starts that a query asks for.

    Raises:
        BadRequestError: It is no such time, or out of range.
    """
    if at is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        moment = zoned(at)
    except UserError as error:
        raise BadRequestError(f"at: {error}") from error
    if not 0 <= moment.timestamp() < LAST_SECOND:
        raise BadRequestError(f"at={at} is out of range: give a time from 1970 to 2099")
    return moment


def check_device(device: str) -> None:
    """Raises `BadRequestError` for a device that has no row."""
    if device not in DEVICES:
        raise BadRequestError(
            f"device={device[:64]!r} is unknown: choose from {', '.join(DEVICES)}"
        )


def check_not_ahead(listens: Sequence[ListenBody]) -> None:
    """Raises `BadRequestError` for a listen that starts more than a day ahead of this clock.

    It would close the user's session, and make late all that the user listens to until then.
    """
    latest = time.time() + SECONDS_PER_DAY
    for number, listen in enumerate(listens):
        if listen.timestamp > latest:
            raise BadRequestError(
                f"listens[{number}].timestamp={listen.timestamp} is more than a day ahead of this "
                "server's clock: give UTC seconds, and check the clock of who sends it"
            )


# Sentences ---------------------------------------------------------------------------------------

_ADVICE: Final[Mapping[str, str]] = {
    "missing": "is missing: give it",
    "extra_forbidden": "is unknown: leave it out, or see /docs for what there is",
    "int_type": "is no whole number: write it without quotes or a fraction",
    "int_parsing": "is no whole number: write digits only",
    "int_from_float": "is no whole number: write it without a fraction",
    "int_parsing_size": "is too large a number",
    "string_type": "is no text: write it in quotes",
    "string_unicode": "has characters that UTF-8 cannot have: send the text as it is stored",
    "bool_type": "is neither true nor false: write it without quotes",
    "bool_parsing": "is neither true nor false",
    "list_type": "is no list: write it in square brackets",
    "model_type": 'is no object: write it like {"user_id": "u1", ...}',
    "model_attributes_type": 'is no object: write it like {"listens": [{"user_id": "u1", ...}]}',
}


def sentence_of(errors: Sequence[Mapping[str, Any]]) -> str:
    """The first of pydantic's errors, as a sentence that says where it is and what to do."""
    first = errors[0]
    where = place_of(first["loc"])
    kind, context = first["type"], first.get("ctx", {})
    if kind in _ADVICE:
        text = f"{where} {_ADVICE[kind]}"
    elif kind == "value_error":
        text = f"{where}: {context.get('error', first['msg'])}"
    elif kind == "string_too_short":
        text = f"{where} is empty: give an id of at least one character"
    elif kind == "string_too_long":
        text = f"{where} is longer than {context['max_length']} characters: give a shorter one"
    elif kind == "too_long":
        text = f"{where} has more than {context['max_length']} items: send them in several requests"
    elif kind in ("greater_than_equal", "less_than_equal", "less_than", "greater_than"):
        limits = {
            "ge": "must be at least",
            "gt": "must be more than",
            "le": "must be at most",
            "lt": "must be less than",
        }
        (bound, limit), *_ = context.items()
        text = f"{where} is out of range: it {limits[bound]} {limit}"
    else:
        text = f"{where}: {first['msg']}"
    more = len(errors) - 1
    return text + (f" (and {more} more of such)" if more else "")


def place_of(location: Sequence[str | int]) -> str:
    """Where an error is, such as `listens[3].timestamp`."""
    text = ""
    for part in location[1:] if location and location[0] in ("body", "query", "path") else location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else str(part)
    return text or "the body"
