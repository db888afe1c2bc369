"""Yambda (Yandex, 2025): Parquet, flat (a row a listen) or sequential (a row a user, of lists).

Columns: uid, item_id, timestamp, is_organic, played_ratio_pct, track_length_seconds. Times are
seconds from the first event, rounded down to multiples of five; here they count from
`times.START_OF_RELATIVE_TIMES`. A ratio above 100 is a listen that went back in the track. Files of
likes and dislikes, and `multi_event.parquet`, which repeats all of them, are left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.parsing import parse_bool, parse_int
from beam_pipelines.rules.rows import RawListens, RejectedRow, malformed_row
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.parquet import read_row_groups, row_groups, schema_of
from beam_pipelines.sources.times import START_OF_RELATIVE_TIMES, later

_NAMES: Final = (
    "uid",
    "item_id",
    "timestamp",
    "is_organic",
    "played_ratio_pct",
    "track_length_seconds",
)
_IN_SEQUENCES: Final = {"item_ids": "item_id", "timestamps": "timestamp"}
"""Names that sequential files have for columns of flat ones."""
_USERS_PER_BATCH: Final = 128
"""Of sequential files: some 600,000 listens."""


@dataclass(frozen=True)
class YambdaSource:
    """Reads `listens.parquet` of either form."""

    suffixes: tuple[str, ...] = (".parquet",)

    def units(self, path: Path) -> list[Unit]:
        names = {_IN_SEQUENCES.get(name, name) for name in schema_of(path).names}
        is_listens = names >= {"uid", "item_id", "timestamp", "played_ratio_pct"}
        if not is_listens or "event_type" in names:
            return []
        return row_groups(path)

    def read(self, unit: Unit) -> Iterator[RawListens]:
        names = (*_NAMES, *_IN_SEQUENCES)
        if any(map(pa.types.is_nested, schema_of(Path(unit.path)).types)):
            sequences = read_row_groups(unit, names, rows_per_batch=_USERS_PER_BATCH)
            batches: Iterator[RawListens] = map(_flat, sequences)
        else:
            batches = read_row_groups(unit, names)
        for batch in batches:
            yield RawListens(_canonical(batch.columns), batch.rows, batch.malformed)


def _canonical(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    seconds = _numbers(columns, "track_length_seconds")
    percent = _numbers(columns, "played_ratio_pct")
    canonical = {
        "user_id": columns["uid"],
        "track_id": columns["item_id"],
        "timestamp": later(columns["timestamp"], START_OF_RELATIVE_TIMES),
        "ms_played": pc.multiply(pc.multiply(seconds, percent), 10),
        "track_duration_ms": pc.multiply(seconds, 1000),
    }
    if "is_organic" in columns:
        is_organic, _ = parse_bool(columns["is_organic"])
        canonical["stream_source"] = pc.if_else(is_organic, "organic", "recommended")
    return canonical


def _numbers(columns: dict[str, pa.Array], name: str) -> pa.Array:
    if name not in columns:
        return pa.nulls(len(columns["uid"]), pa.int64())
    return parse_int(columns[name])[0]


def _flat(sequences: RawListens) -> RawListens:
    """A row a listen; each has the number of its user's row."""
    columns = {_IN_SEQUENCES.get(name, name): c for name, c in sequences.columns.items()}
    lists = {name: column for name, column in columns.items() if name != "uid"}
    lengths = np.stack(
        [
            pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
            for column in lists.values()
        ]
    )
    is_good = (lengths == lengths[0]).all(axis=0)
    malformed: tuple[RejectedRow, ...] = tuple(
        malformed_row(int(sequences.rows[row]), f"lists of {lengths[:, row].tolist()} values")
        for row in np.flatnonzero(~is_good).tolist()
    )
    good = pa.array(is_good)
    counts = lengths[0][is_good]
    users = pa.array(np.repeat(np.arange(len(counts)), counts))
    flat = {name: pc.list_flatten(column.filter(good)) for name, column in lists.items()}
    flat["uid"] = columns["uid"].filter(good).take(users)
    return RawListens(flat, np.repeat(sequences.rows[is_good], counts), malformed)
