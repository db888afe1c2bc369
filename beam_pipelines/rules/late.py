"""Listens that come too late for `--append`: which rows of which files they are."""

import heapq
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.checks import CLEAN_SCHEMA
from beam_pipelines.rules.hashing import IdHasher
from beam_pipelines.rules.rows import RejectedRow
from cosernn_tf.schema import DEVICES, UNKNOWN
from cosernn_tf.sessions import NULL

TOO_LATE: Final = "too_late"
"""Reason against a listen that would change a session that is frozen (`rules.retained`)."""

ORIGIN_SCHEMA: Final = pa.schema(
    [
        *CLEAN_SCHEMA,
        pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
"""Clean listens, and where each stood."""

_MAY_BE_NULL: Final = ("ms_played", "skipped", "track_duration_ms")


def with_origin(clean: pa.Table, file: str, rows: np.ndarray) -> pa.Table:
    """Listens of `ORIGIN_SCHEMA`.

    Args:
        clean: n of `CLEAN_SCHEMA`, where names may be in dictionaries.
        file: Which all of them are from.
        rows: (n,) numbers in it.
    """
    codes = pa.array(np.zeros(len(rows), np.int32))
    clean = clean.cast(CLEAN_SCHEMA)
    columns = [*clean.columns, pa.DictionaryArray.from_arrays(codes, [file]), pa.array(rows)]
    return pa.table(columns, ORIGIN_SCHEMA)


def late_rows(
    listens: pa.Table, hasher: IdHasher | None
) -> Iterator[tuple[str, list[RejectedRow]]]:
    """The files and their rows, in order.

    Args:
        listens: Of `ORIGIN_SCHEMA`.
        hasher: What has hashed ids in them: other text is not kept then.
    """
    listens = listens.set_column(
        listens.schema.get_field_index("file"), "file", listens["file"].cast(pa.string())
    ).sort_by([("file", "ascending"), ("row", "ascending")])
    for file in pc.unique(listens["file"]).to_pylist():
        own = listens.filter(pc.equal(listens["file"], file)).drop_columns("file").to_pylist()
        yield file, [RejectedRow(row.pop("row"), TOO_LATE, _content(row, hasher)) for row in own]


def merged_rejected(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of rejected rows of a file, those of each part in order, by row."""
    return heapq.merge(
        *(part.splitlines(keepends=True) for part in parts),
        key=lambda line: json.loads(line)["row"],
    )


def _content(listen: dict[str, Any], hasher: IdHasher | None) -> str:
    """A clean listen as a row of a canonical log."""
    device = DEVICES[listen["device"]]
    columns = {
        name: None if name in _MAY_BE_NULL and value == NULL else value
        for name, value in listen.items()
    }
    columns["device"] = None if device == UNKNOWN else device
    if columns["skipped"] is not None:
        columns["skipped"] = bool(columns["skipped"])
    if hasher is not None:
        columns = hasher.kept(columns)
    return json.dumps(columns, ensure_ascii=False)
