"""Dates and times as people write them on a command line."""

import re
from datetime import UTC, datetime
from typing import Final

from cosernn_tf.errors import UserError

_RFC_3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?",
    re.ASCII | re.IGNORECASE,
)


def parse_time(text: str, *, flag: str) -> datetime:
    """An RFC 3339 date and time; seconds and offset may be missing, without an offset it is UTC.

    Raises:
        UserError: It is something else, or no such time exists; `flag` is where it was given.
    """
    try:
        if not _RFC_3339.fullmatch(text):
            raise ValueError("not RFC 3339")
        time = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise UserError(
            f"--{flag}={text} is no date and time ({error}): write it like "
            "2019-06-01T08:00:00+02:00"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
