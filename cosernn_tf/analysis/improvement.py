"""Fig. 5 (§6.3): by how much a model is better than a reference, by period of day and by device.

Both are taken where both are scored, on the rows of `scores.parquet`. With mean scores a and b the
improvement is a / b - 1, and b / a's counterpart 1 - a / b where lower is better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosernn_tf.analysis.clustered import ClusteredTotals, sum_by
from cosernn_tf.analysis.contexts import DEVICE, PERIOD
from cosernn_tf.analysis.rows import Row, around
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.schema import DEVICES, PERIOD_OF_HOUR, PERIODS, UNKNOWN

ANY: Final = "all"
"""The dimension of all sessions, and its one context."""

_KEYS: Final = ("user_id", "session_start", "hour", "device")
_ROWS_PER_BATCH: Final = 65_536
_N, _MODEL, _REFERENCE = range(3)


@dataclass(frozen=True, kw_only=True)
class Improvement(Row):
    """A point of Fig. 5."""

    model: str
    reference: str
    metric: str
    dimension: str
    context: str
    sessions: int
    """On which both are scored."""
    users: int
    model_mean: float
    reference_mean: float
    difference: float | None
    """Of the model's mean to the reference's."""
    difference_low: float | None
    difference_high: float | None
    improvement: float | None
    """As a share of the reference's mean, positive for the better; None unless that is positive."""
    improvement_low: float | None
    improvement_high: float | None


def improvements(
    scores: Path, *, models: Sequence[str], reference: str, devices: Sequence[str] = DEVICES
) -> tuple[Improvement, ...]:
    """Every model over the reference, by metric, dimension and context that has a scored session.

    The file is read once, a part at a time, in the order in which `evaluate` wrote it: each model
    has the same sessions in the same order, and a user's are together.

    Args:
        scores: `scores.parquet`.
        models: Other models of the file.
        reference: A model of the file.
        devices: The device vocabulary.

    Raises:
        UserError: The file does not have these models, or is in another order.
    """
    found = {model: _Comparison(devices) for model in models}
    for parts in _parts(scores, [reference, *models]):
        for model, comparison in found.items():
            comparison.add(parts[model], parts[reference])
    rows: list[Improvement] = []
    for model, comparison in found.items():
        rows += comparison.rows(model, reference)
    return tuple(rows)


def _parts(scores: Path, models: Sequence[str]) -> Iterator[dict[str, pa.Table]]:
    """Rows of whole users by model, the same sessions of each."""
    file = pq.ParquetFile(scores)
    names = file.schema_arrow.names
    columns = ["model", *_KEYS, *(metric.name for metric in METRICS if metric.name in names)]
    pending = dict.fromkeys(models, file.schema_arrow.empty_table().select(columns[1:]))
    for batch in file.iter_batches(_ROWS_PER_BATCH, columns=columns):
        table = pa.table(batch)
        for model in models:
            own = table.filter(pc.field("model") == model).select(columns[1:])
            pending[model] = pa.concat_tables([pending[model], own])
        # The last user of a part may go on in the next.
        some = min(len(rows) for rows in pending.values())
        users = pending[models[0]]["user_id"][:some]
        whole = some and pc.index(users, users[-1]).as_py()
        if whole:
            yield _checked(scores, {m: rows.slice(0, whole) for m, rows in pending.items()})
            pending = {m: rows.slice(whole) for m, rows in pending.items()}
    for model, rows in pending.items():
        if not len(rows):
            raise UserError(f"{scores} has no scores of {model!r}")
    yield _checked(scores, pending)


def _checked(scores: Path, parts: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Raises `UserError` unless all have the same sessions, each user's together."""
    first, *others = (rows.select(_KEYS) for rows in parts.values())
    users = first["user_id"].combine_chunks().dictionary_encode()
    runs = np.count_nonzero(np.diff(users.indices.to_numpy(), prepend=-1))
    if runs > len(users.dictionary) or not all(rows.equals(first) for rows in others):
        raise UserError(
            f"{scores} is not in the order of cosernn_tf.evaluate, with the same sessions of every "
            "model, a user's together: run it again"
        )
    return parts


class _Comparison:
    """Gathers the means of a model and of the reference."""

    def __init__(self, devices: Sequence[str]) -> None:
        known_first = sorted(devices, key=lambda device: device == UNKNOWN)
        self._contexts = {ANY: (ANY,), PERIOD: PERIODS, DEVICE: tuple(known_first)}
        self._totals = {
            name: ClusteredTotals(len(contexts) * len(METRICS), 3)
            for name, contexts in self._contexts.items()
        }

    def add(self, model: pa.Table, reference: pa.Table) -> None:
        """Adds the rows of whole users, the same sessions of both."""
        user = model["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        hour = model["hour"].to_numpy()
        devices = pa.array(self._contexts[DEVICE])
        contexts = {
            ANY: np.zeros(len(user), np.int64),
            PERIOD: PERIOD_OF_HOUR[hour],
            DEVICE: pc.index_in(model["device"], devices).to_numpy().astype(np.int64),
        }
        values = np.zeros((len(user), len(METRICS), 3))
        for column, metric in enumerate(METRICS):
            if metric.name in model.column_names:
                pair = (model[metric.name].to_numpy(), reference[metric.name].to_numpy())
                scored = ~np.isnan(pair).any(axis=0)
                values[scored, column] = np.stack([scored, *pair], axis=1)[scored]
        for name, context in contexts.items():
            size = len(self._contexts[name])
            keys, sums = sum_by(user * size + context, values.reshape(len(user), -1))
            sums = sums.reshape(len(keys), len(METRICS), 3)
            group, metric_row = np.nonzero(sums[:, :, _N])
            cells = keys[group] % size * len(METRICS) + metric_row
            self._totals[name].add_groups(cells, sums[group, metric_row])

    def rows(self, model: str, reference: str) -> Iterator[Improvement]:
        """By metric, dimension and context."""
        for column, metric in enumerate(METRICS):
            for name, contexts in self._contexts.items():
                totals = self._totals[name]
                cells = self._cells(name, column)
                known = [c for c, x in zip(cells, contexts, strict=True) if x != UNKNOWN]
                if not totals.users[known].any():
                    continue
                for context, cell in zip(contexts, cells, strict=True):
                    if totals.users[cell]:
                        yield Improvement(
                            model=model,
                            reference=reference,
                            metric=metric.name,
                            dimension=name,
                            context=context,
                            sessions=round(totals.totals[cell, _N]),
                            users=int(totals.users[cell]),
                            **_figures(totals, cell, sign=1 if metric.higher_is_better else -1),
                        )

    def _cells(self, dimension: str, column: int) -> range:
        """Of a metric, the cells of the contexts."""
        return range(column, len(self._contexts[dimension]) * len(METRICS), len(METRICS))


def _figures(totals: ClusteredTotals, cell: int, *, sign: int) -> dict[str, Any]:
    """The columns of means, difference and improvement."""
    count, of_model, of_reference = totals.totals[cell]
    difference = (of_model - of_reference) / count
    ends = totals.interval(cell, difference, [-difference / count, 1 / count, -1 / count])
    columns = {"model_mean": of_model / count, "reference_mean": of_reference / count}
    columns |= around("difference", difference, *ends)
    if of_reference <= 0:
        return columns | around("improvement", np.nan, np.nan, np.nan)
    ratio = of_model / of_reference
    improvement = sign * (ratio - 1)
    gradient = [0.0, sign / of_reference, -sign * ratio / of_reference]
    return columns | around(
        "improvement", improvement, *totals.interval(cell, improvement, gradient)
    )
