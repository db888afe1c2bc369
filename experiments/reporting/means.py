"""Means of columns of scores, with intervals that take users as clusters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosernn_tf.analysis.clustered import ClusteredTotals


@dataclass(frozen=True)
class Mean:
    """Of a model's scores in a column."""

    value: float
    low: float | None
    """None with fewer than two users."""
    high: float | None
    sessions: int
    users: int


def means_by_model(scores: Path, columns: Sequence[str]) -> dict[str, dict[str, Mean]]:
    """By model and column; what is defined for no session is left out.

    Args:
        scores: Of the form of `scores.parquet`, each row group with whole users and all models.
        columns: Floating-point ones, null where a session is not scored.
    """
    with pq.ParquetFile(scores) as file:
        names = file.read_row_group(0, columns=["model"])["model"].unique().to_pylist()
        totals = ClusteredTotals(len(names) * len(columns), 2)
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["model", "user_id", *columns])
            totals.add(_sums(table, names, columns))
    values, low, high = totals.ratio_intervals(1, 0)
    found: dict[str, dict[str, Mean]] = {name: {} for name in names}
    cells = ((name, column) for name in names for column in columns)
    for cell, (name, column) in enumerate(cells):
        if totals.users[cell]:
            ends = [None if np.isnan(end[cell]) else float(end[cell]) for end in (low, high)]
            sessions = round(totals.totals[cell, 0])
            users = int(totals.users[cell])
            found[name][column] = Mean(float(values[cell]), ends[0], ends[1], sessions, users)
    return found


def _sums(table: pa.Table, names: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """(users, models times columns, 2): number of scores and their sum."""
    users = table["user_id"].combine_chunks().dictionary_encode()
    table = table.append_column("user", users.indices)
    sums = np.zeros((len(users.dictionary), len(names), len(columns), 2))
    for place, name in enumerate(names):
        rows = table.filter(pc.field("model") == name)
        user = rows["user"].to_numpy()
        for column, title in enumerate(columns):
            values = rows[title].to_numpy()
            is_scored = ~np.isnan(values)
            known = user[is_scored]
            sums[:, place, column, 0] = np.bincount(known, minlength=len(sums))
            sums[:, place, column, 1] = np.bincount(known, values[is_scored], len(sums))
    return sums.reshape(len(sums), -1, 2)
