"""Reads listens and users, checks every row, and sends it to its user's hash bucket."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final

import apache_beam as beam
import numpy as np
import pyarrow as pa
from absl import logging
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.rules.buckets import split_by_bucket, split_listens
from beam_pipelines.rules.checks import CheckedListens, check_listens
from beam_pipelines.rules.hashing import StoredIds
from beam_pipelines.rules.late import with_origin
from beam_pipelines.rules.packing import pack, with_dictionaries
from beam_pipelines.rules.refusals import example_of
from beam_pipelines.rules.rows import RejectedRow
from beam_pipelines.rules.spill import Part, Spill, to_bytes
from beam_pipelines.rules.tally import DEVICES_OTHER, READ, REJECTED, USERS_READ, Example, Tally
from beam_pipelines.sources.base import Source, Unit
from beam_pipelines.sources.files import check_unchanged
from beam_pipelines.sources.users import read_users
from cosernn_tf.errors import UserError

LISTENS: Final = "listens"
USERS: Final = "users"
REJECTED_LINES: Final = "rejected"
TALLY: Final = "tally"
FAILURES: Final = "failures"
SAMPLES: Final = "samples"

_PROGRESS_SECONDS: Final = 5
_RAW: Final = StoredIds()
_SAMPLES_PER_BATCH: Final = 32
_ROWS_AT_ONCE: Final = 2**18
"""That are sent to their buckets, so that parts are not many and small."""


class ReadListens(beam.DoFn):
    """From units of files to (bucket, part: packed clean listens).

    With their origin (`late.ORIGIN_SCHEMA`) if that is to be kept. Tagged outputs:
    `REJECTED_LINES`, (file, (first row, part: JSON lines)) of each batch that has rejected rows,
    `SAMPLES`, a few track ids of each batch, `TALLY`, and `FAILURES`, what is wrong with a file
    that cannot be read.
    """

    def __init__(
        self,
        source: Source,
        num_buckets: int,
        spill: Spill,
        *,
        ids: StoredIds = _RAW,
        keeps_origin: bool = False,
    ) -> None:
        self._source = source
        self._num_buckets = num_buckets
        self._spill = spill
        self._ids = ids
        self._keeps_origin = keeps_origin

    def process(self, unit: Unit) -> Iterator[Any]:
        try:
            hasher = self._ids.hasher()
            check_unchanged(unit.path, unit.version)
            held: list[pa.Table] = []
            for raw in self._source.read(unit):
                checked = check_listens(raw, hasher)
                yield from self._told(checked, unit)
                held.append(self._kept(checked, unit))
                if sum(table.num_rows for table in held) >= _ROWS_AT_ONCE:
                    yield from self._placed(held)
                    held = []
            yield from self._placed(held)
            check_unchanged(unit.path, unit.version)
        except UserError as error:
            yield TaggedOutput(FAILURES, self._ids.anonymous(str(error), unit.path))
        logging.log_every_n_seconds(
            logging.INFO,
            "Read %s, part %d",
            _PROGRESS_SECONDS,
            self._ids.name(unit.path),
            unit.part,
        )

    def _told(self, checked: CheckedListens, unit: Unit) -> Iterator[TaggedOutput]:
        clean, rejected = checked.clean, checked.rejected
        name = self._ids.name(unit.path)
        counters = {
            READ: clean.num_rows + len(rejected),
            DEVICES_OTHER: checked.other_devices,
            **_by_reason(REJECTED, rejected),
        }
        count(counters)
        times = clean["timestamp"].to_numpy()
        last = int(times.max()) if len(times) else None
        examples = _examples(rejected, name)
        yield TaggedOutput(TALLY, Tally(counters, last_timestamp=last, examples=examples))
        yield from rejected_lines(name, rejected, self._spill)
        places = np.linspace(0, clean.num_rows, _SAMPLES_PER_BATCH, endpoint=False, dtype=np.int64)
        if clean.num_rows:
            yield TaggedOutput(SAMPLES, clean["track_id"].take(pa.array(places)).to_pylist())

    def _kept(self, checked: CheckedListens, unit: Unit) -> pa.Table:
        if self._keeps_origin:
            return with_origin(checked.clean, self._ids.name(unit.path), checked.rows)
        return with_dictionaries(checked.clean)

    def _placed(self, tables: list[pa.Table]) -> Iterator[tuple[int, Part]]:
        if not tables:
            return
        buckets = dict(split_listens(pa.concat_tables(tables), self._num_buckets))
        yield from zip(buckets, self._spill.put(list(map(pack, buckets.values()))), strict=True)


class ReadUsers(beam.DoFn):
    """From files to (bucket, part: Arrow IPC of users and ages).

    Tagged outputs as of `ReadListens`.
    """

    def __init__(self, num_buckets: int, spill: Spill, *, ids: StoredIds = _RAW) -> None:
        self._num_buckets = num_buckets
        self._spill = spill
        self._ids = ids

    def process(self, path: str) -> Iterator[Any]:
        try:
            for table, rejected in read_users(path, self._ids.hasher()):
                yield from self._sorted(table, rejected, path)
        except UserError as error:
            yield TaggedOutput(FAILURES, self._ids.anonymous(str(error), path))

    def _sorted(
        self, table: pa.Table, rejected: tuple[RejectedRow, ...], path: str
    ) -> Iterator[Any]:
        counters = {
            USERS_READ: table.num_rows + len(rejected),
            **_by_reason(REJECTED, rejected),
        }
        count(counters)
        name = self._ids.name(path)
        examples = _examples(rejected, name)
        yield TaggedOutput(TALLY, Tally(counters, examples=examples))
        yield from rejected_lines(name, rejected, self._spill)
        buckets = dict(split_by_bucket(table, self._num_buckets))
        yield from zip(buckets, self._spill.put(list(map(to_bytes, buckets.values()))), strict=True)


def count(counters: dict[str, int]) -> None:
    """Adds to the Beam metrics of the same names, which runners show while a job runs."""
    for name, value in counters.items():
        beam.metrics.Metrics.counter("sessionize", name).inc(value)


def _by_reason(prefix: str, rejected: Iterable[RejectedRow]) -> dict[str, int]:
    return dict(Counter(prefix + row.reason for row in rejected))


def _examples(rejected: Iterable[RejectedRow], name: str) -> dict[str, Example]:
    """The first row of each reason, in the file of that name."""
    first: dict[str, RejectedRow] = {}
    for row in rejected:
        first[row.reason] = min(row, first.get(row.reason, row), key=lambda r: r.row)
    return {REJECTED + r.reason: example_of(name, r.row, r.shown) for r in first.values()}


def rejected_lines(
    name: str, rejected: Iterable[RejectedRow], spill: Spill
) -> Iterator[TaggedOutput]:
    """One part of all rejected rows of a batch, in the order of the file of that name."""
    lines = sorted((row.row, json.dumps(row.to_dict(name), ensure_ascii=False)) for row in rejected)
    if lines:
        data = "".join(f"{line}\n" for _, line in lines).encode("utf-8", "backslashreplace")
        first_row, _ = lines[0]
        yield TaggedOutput(REJECTED_LINES, (name, (first_row, *spill.put([data]))))
