"""Contexts that many users are asked about: every combination of flags, or the rows of a file."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cosernn_tf.config import require
from cosernn_tf.errors import UserError
from cosernn_tf.rfc3339 import parse_time
from cosernn_tf.serving.listens import Context

COLUMNS: Final = ("at", "device", "stream_source")
"""Of a file; the last may be missing, and empty."""


def combinations(
    *, at: Sequence[str], devices: Sequence[str], stream_source: str | None
) -> list[Context]:
    """Every time with every device.

    Raises:
        UserError: No time or device, or something that is no time.
    """
    times = [parse_time(text, flag="at") for text in at]
    return [Context(*pair, stream_source) for pair in itertools.product(times, devices)]


def read_contexts(path: Path) -> list[Context]:
    """The rows of a CSV file with a header.

    Raises:
        UserError: It cannot be read, has other columns, no rows, or a time that is none.
    """
    where = f"--contexts={path}"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except FileNotFoundError as error:
        raise UserError(f"{where} does not exist") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where} cannot be read as CSV ({error})") from error
    header, *rows = [row for row in rows if row] or [[]]
    require(
        {"at", "device"} <= set(header) <= set(COLUMNS) and len(set(header)) == len(header),
        f"{where} has the columns {','.join(header)}: it needs at,device and maybe stream_source",
    )
    require(bool(rows), f"{where} has no contexts")
    contexts = []
    for number, row in enumerate(rows, start=1):
        require(
            len(row) == len(header),
            f"{where}, context {number}: {len(row)} values for {len(header)} columns",
        )
        values = dict(zip(header, row, strict=True))
        try:
            at = parse_time(values["at"], flag="at")
        except UserError as error:
            raise UserError(f"{where}, context {number}: {error}") from error
        contexts.append(Context(at, values["device"], values.get("stream_source") or None))
    return contexts
