"""Means of scores by group of sessions, with intervals that take users as clusters.

Cold start, ageing of a model, activity, fairness by age, context: all from the rows of
`scores.parquet`, without a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats
from tqdm import tqdm

from cosernn_tf.evaluation.aligned import align
from cosernn_tf.evaluation.clusters import Bootstrap, clustered_means
from cosernn_tf.evaluation.groups import groupings
from cosernn_tf.evaluation.heuristics import AVG_ANY
from cosernn_tf.evaluation.metrics import COSINE, METRICS
from cosernn_tf.evaluation.scores import ATTENTION_OFFSET
from cosernn_tf.evaluation.scores import EARLIER_SESSIONS as EARLIER

RESAMPLES: Final = 2_000
"""Of each group, whose mean is wanted and no p-value."""

MIN_USERS: Final = 10
"""A smaller group is not called the worst."""

GROUP_MEANS: Final = pa.schema(
    [
        pa.field("dimension", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("sessions", pa.int64(), nullable=False),
        pa.field("users", pa.int64(), nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
    ]
)
"""Of `break_down`: the sessions of the group on which the metric is defined, and of how many users
they are; null where there is none, or too few users for an interval."""

ATTENTION_BINS: Final = pa.schema(
    [
        *(pa.field(n, pa.float64(), nullable=False) for n in ("least", "greatest", "attention")),
        *(pa.field(n, pa.int64(), nullable=False) for n in ("sessions", "users")),
        *(
            pa.field(n, pa.float64(), nullable=False)
            for n in ("cosine", "long_term_cosine", "gain")
        ),
        *(pa.field(n, pa.float64()) for n in ("gain_low", "gain_high")),
    ]
)
"""Of `calibrate_attention`: the range of β̂ and its mean; mean cosines of the model and of "Avg, any
cxt"; their difference, and its interval."""

_LOWER_IS_BETTER: Final = {metric.name for metric in METRICS if not metric.higher_is_better}

WORST_GROUPS: Final = pa.schema(
    [*GROUP_MEANS, pa.field("overall", pa.float64()), pa.field("gap", pa.float64())]
)
"""Of `worst_groups`: the mean over all groups' sessions, and how much worse the group's is."""


def break_down(
    scores: pa.Table,
    metrics: Sequence[str],
    *,
    training_end: int,
    models: Sequence[str] | None = None,
    bootstrap: Bootstrap | None = None,
) -> pa.Table:
    """Means by group.

    Args:
        scores: Rows of `scores.parquet`.
        metrics: Its columns to take means of.
        training_end: UTC seconds: `provenance.boundaries.validation_start` of `metrics.json`.
        models: Names; None: all.
        bootstrap: Of the intervals; None: `RESAMPLES` resamples.

    Returns:
        Rows of `GROUP_MEANS`, by dimension, group, model and metric.

    Raises:
        ValueError: The models are not scored on the same sessions.
    """
    bootstrap = bootstrap or Bootstrap(RESAMPLES)
    aligned = align(scores, metrics, models=models)
    contrasts = [(place, None) for place in range(len(aligned.models))]
    rows = []
    ways = groupings(aligned.sessions, training_end=training_end)
    with tqdm(total=sum(len(way.groups) for way in ways), desc="groups", unit="group") as bar:
        for way in ways:
            for place, group in enumerate(way.groups):
                sums = aligned.user_sums(metrics, way.of_session == place)
                found = clustered_means(sums, contrasts, bootstrap)
                rows += [
                    {
                        "dimension": way.dimension,
                        "group": group,
                        "model": model,
                        "metric": metric,
                        "sessions": int(of.counts.sum()),
                        "users": means.users,
                        "mean": means.means[number],
                        "low": means.low[number],
                        "high": means.high[number],
                    }
                    for number, model in enumerate(aligned.models)
                    for metric, of, means in zip(metrics, sums, found, strict=True)
                ]
                bar.update()
    return _table(rows, GROUP_MEANS)


def worst_groups(groups: pa.Table, *, min_users: int = MIN_USERS) -> pa.Table:
    """Of each dimension, model and metric the group whose mean is the worst.

    Args:
        groups: Of `break_down`.
        min_users: Of a group that is looked at.

    Returns:
        Rows of `WORST_GROUPS`; none of a dimension that has no two groups of so many users.
    """
    by_way: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in groups.to_pylist():
        if row["mean"] is not None:
            key = (row["dimension"], row["model"], row["metric"])
            by_way.setdefault(key, []).append(row)
    rows = []
    for (_, _, metric), found in by_way.items():
        large = [row for row in found if row["users"] >= min_users]
        if len(large) < 2:
            continue
        sign = -1.0 if metric in _LOWER_IS_BETTER else 1.0
        worst = min(large, key=lambda row: sign * row["mean"])
        sessions = sum(row["sessions"] for row in found)
        overall = sum(row["sessions"] * row["mean"] for row in found) / sessions
        rows.append({**worst, "overall": overall, "gap": sign * (overall - worst["mean"])})
    return _table(rows, WORST_GROUPS)


# Attention ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionCalibration:
    """Whether a model leans on its offset û where that is worth it.

    u is β̂ û + β̄ ū, normalised. With all attention on ū the prediction is that of "Avg, any cxt":
    what the model gains over it is what û is worth. Where attention is well placed, more of it goes
    with more gain. Sessions without history are left out: all attention falls to û there.
    """

    model: str
    correlation: float
    """Spearman's, of β̂ and the gain in cosine over sessions; NaN if β̂ or the gain never changes."""
    bins: pa.Table
    """Rows of `ATTENTION_BINS`, by rising β̂."""


def calibrate_attention(
    scores: pa.Table, *, bins: int = 10, bootstrap: Bootstrap | None = None
) -> tuple[AttentionCalibration, ...]:
    """Of every model that has attention: the gain over the long-term embedding, by β̂.

    Args:
        scores: Rows of `scores.parquet`, those of "Avg, any cxt" among them.
        bins: Of about as many sessions each; equal β̂ are in one bin.
        bootstrap: Of the intervals; None: `RESAMPLES` resamples.

    Raises:
        ValueError: The models are not scored on the same sessions.
    """
    bootstrap = bootstrap or Bootstrap(RESAMPLES)
    has_history = scores.filter(pc.field(EARLIER) > 0)
    aligned = align(has_history, [COSINE, ATTENTION_OFFSET])
    long_term = aligned.models.index(AVG_ANY)
    found = []
    for place, model in enumerate(aligned.models):
        offset = aligned.values[ATTENTION_OFFSET][place]
        if not len(offset) or np.isnan(offset).all():
            continue
        gain = aligned.values[COSINE][place] - aligned.values[COSINE][long_term]
        edges = np.unique(np.quantile(offset, np.arange(1, bins) / bins))
        of_bin = np.searchsorted(edges, offset, side="left")
        rows = []
        for number in np.unique(of_bin).tolist():
            of = of_bin == number
            (sums,) = aligned.user_sums([COSINE], of)
            contrasts = [(place, None), (long_term, None), (place, long_term)]
            (means,) = clustered_means([sums], contrasts, bootstrap)
            rows.append(
                {
                    "least": offset[of].min(),
                    "greatest": offset[of].max(),
                    "attention": offset[of].mean(),
                    "sessions": int(np.count_nonzero(of)),
                    "users": means.users,
                    "cosine": means.means[0],
                    "long_term_cosine": means.means[1],
                    "gain": means.means[2],
                    "gain_low": means.low[2],
                    "gain_high": means.high[2],
                }
            )
        varies = np.ptp(offset) > 0 and np.ptp(gain) > 0
        correlation = float(stats.spearmanr(offset, gain).statistic) if varies else np.nan
        found.append(AttentionCalibration(model, correlation, _table(rows, ATTENTION_BINS)))
    return tuple(found)


def _table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """NaN as null."""
    columns = [
        pa.array([row[field.name] for row in rows], field.type, from_pandas=True)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
