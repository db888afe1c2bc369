"""Scores of a model over its seeds: the mean of its runs' scores, session by session.

Means and tests of such scores are those of a model trained with a seed at random, as far as the
seeds that there are tell; how much seeds differ is stated beside them.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.evaluation.report import metrics_json
from cosernn_tf.evaluation.summary import SummaryBuilder

_LEFT_OUT: Final = "prediction"
_KEYS: Final = ("user_id", "session_start")


def summarize_groups(
    scores: Path,
    groups: Mapping[str, Sequence[str]],
    *,
    bootstrap: Bootstrap | None,
    grouped: Path,
) -> dict[str, Any]:
    """Writes the scores of groups of runs, and tests each group and heuristic against all others.

    Args:
        scores: `scores.parquet` of an evaluation.
        groups: Runs, by the name of the group.
        bootstrap: Of intervals and tests with users as clusters; None for no such.
        grouped: Of the same form as `scores`, to write; a row group has whole users.

    Returns:
        As the statistics of `metrics.json`, of groups, heuristics and oracles.

    Raises:
        ValueError: There are no scores, or runs of a group are of other sessions.
    """
    builder: SummaryBuilder | None = None
    with contextlib.ExitStack() as stack:
        for block in user_blocks(scores):
            of_groups = group_scores(block, groups)
            if builder is None:
                names = of_groups["model"].unique().to_pylist()
                references = [name for name in names if name not in ORACLES]
                builder = SummaryBuilder(names, references=references, bootstrap=bootstrap)
                writer = stack.enter_context(
                    pq.ParquetWriter(grouped, of_groups.schema, compression="zstd")
                )
            writer.write_table(of_groups, row_group_size=of_groups.num_rows)
            builder.add(of_groups)
    if builder is None:
        raise ValueError("it has no scores")
    return metrics_json(builder.build())


def user_blocks(scores: Path) -> Iterator[pa.Table]:
    """Tables of whole users, all models, as `cosernn_tf.evaluate` has written them one by one.

    A block begins where the first model follows another one.
    """
    first: str | None = None
    last: str | None = None
    pending: list[pa.Table] = []
    for table in _row_groups(scores):
        models = table["model"].to_pylist()
        first = first or models[0]
        starts = [
            row
            for row, (before, model) in enumerate(zip([last, *models[:-1]], models, strict=True))
            if model == first and before not in (None, first)
        ]
        last = models[-1]
        done = 0
        for start in starts:
            yield pa.concat_tables([*pending, table.slice(done, start - done)])
            pending, done = [], start
        pending.append(table.slice(done))
    if pending:
        yield pa.concat_tables(pending)


def _row_groups(scores: Path) -> Iterator[pa.Table]:
    """All that is in the file but predictions; no empty ones."""
    with (
        pq.ParquetFile(scores) as file,
        tqdm(total=file.metadata.num_rows, desc="scores", unit="score") as bar,
    ):
        names = [name for name in file.schema_arrow.names if name != _LEFT_OUT]
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=names)
            if table.num_rows:
                yield table
            bar.update(table.num_rows)


def group_scores(scores: pa.Table, groups: Mapping[str, Sequence[str]]) -> pa.Table:
    """A table of the same columns, with a row a group, heuristic or oracle and session.

    Raises:
        ValueError: Runs of a group have not scored the same sessions, in the same order.
    """
    by_model = {
        name: scores.filter(pc.field("model") == name)
        for name in scores["model"].unique().to_pylist()
    }
    tables = [by_model[name] for name in HEURISTICS if name in by_model]
    for group, runs in groups.items():
        tables.append(_mean([by_model[run] for run in runs], group))
    tables += [by_model[name] for name in ORACLES if name in by_model]
    return pa.concat_tables(tables)


def _mean(tables: Sequence[pa.Table], name: str) -> pa.Table:
    """Of the floating-point columns; the others are the same, but for the model's name."""
    first = tables[0]
    for other in tables[1:]:
        if not first.select(_KEYS).equals(other.select(_KEYS)):
            raise ValueError(f"runs of {name!r} have not scored the same sessions")
    columns = []
    for field in first.schema:
        if field.name == "model":
            column = pa.array([name] * first.num_rows, field.type)
        elif pa.types.is_floating(field.type):
            values = np.mean([_values(table[field.name]) for table in tables], axis=0)
            column = pa.array(values, field.type, mask=np.isnan(values))
        else:
            column = first[field.name]
        columns.append(column)
    return pa.table(columns, schema=first.schema)


def _values(column: pa.ChunkedArray) -> np.ndarray:
    """NaN for null."""
    values: np.ndarray = column.cast(pa.float64()).to_numpy()
    return values
