"""Reads listens and users, checks every row, and sends it to its user's hash bucket."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import apache_beam as beam
from absl import logging
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.rules.buckets import split_by_bucket, to_bytes
from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.tally import READ, REJECTED, Tally
from beam_pipelines.sources.base import RejectedRow, Source, Unit
from beam_pipelines.sources.users import read_users

LISTENS: Final = "listens"
USERS: Final = "users"
REJECTED_LINES: Final = "rejected"
TALLY: Final = "tally"

_PROGRESS_SECONDS: Final = 5


class ReadListens(beam.DoFn):
    """From units of files to (bucket, Arrow IPC of clean listens).

    Tagged outputs: `REJECTED_LINES`, (file, (row, JSON line)) of each rejected row, and `TALLY`.
    """

    def __init__(self, source: Source, num_buckets: int) -> None:
        self._source = source
        self._num_buckets = num_buckets

    def process(self, unit: Unit) -> Iterator[Any]:
        for raw in self._source.read(unit):
            checked = check_listens(raw)
            clean = checked.clean
            counters = {
                READ: len(raw.rows) + len(raw.malformed),
                "devices_other": checked.other_devices,
                **_by_reason(REJECTED, checked.rejected),
            }
            count(counters)
            times = clean["timestamp"].to_numpy()
            span = (int(times.min()), int(times.max())) if len(times) else (None, None)
            yield TaggedOutput(TALLY, Tally(counters, *span))
            yield from _rejected_lines(unit.path, checked.rejected)
            for bucket, rows in split_by_bucket(clean, self._num_buckets):
                yield bucket, to_bytes(rows)
        logging.log_every_n_seconds(
            logging.INFO, "Read %s, part %d", _PROGRESS_SECONDS, unit.path, unit.part
        )


class ReadUsers(beam.DoFn):
    """From files to (bucket, Arrow IPC of users and ages); tagged outputs as `ReadListens`."""

    def __init__(self, num_buckets: int) -> None:
        self._num_buckets = num_buckets

    def process(self, path: str) -> Iterator[Any]:
        for table, rejected in read_users(path):
            counters = {
                "users_read": table.num_rows + len(rejected),
                **_by_reason(REJECTED, rejected),
            }
            count(counters)
            yield TaggedOutput(TALLY, Tally(counters))
            yield from _rejected_lines(path, rejected)
            for bucket, rows in split_by_bucket(table, self._num_buckets):
                yield bucket, to_bytes(rows)


def count(counters: dict[str, int]) -> None:
    """Adds to the Beam metrics of the same names, which runners show while a job runs."""
    for name, value in counters.items():
        beam.metrics.Metrics.counter("sessionize", name).inc(value)


def _by_reason(prefix: str, rejected: Iterable[RejectedRow]) -> dict[str, int]:
    return dict(Counter(prefix + row.reason for row in rejected))


def _rejected_lines(path: str, rejected: Iterable[RejectedRow]) -> Iterator[TaggedOutput]:
    for row in rejected:
        line = json.dumps(
            {"file": path, "row": row.row, "reason": row.reason, "content": row.content},
            ensure_ascii=False,
        )
        yield TaggedOutput(REJECTED_LINES, (path, (row.row, line)))
