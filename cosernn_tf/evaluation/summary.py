"""The means behind Table 2, the sessions they are over, and the tests between models.

Scores are added shard by shard, so that memory does not grow with the number of users.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from cosernn_tf.config import RESERVED_RUN_NAMES
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.evaluation.metrics import COSINE, METRICS, Metric
from cosernn_tf.evaluation.significance import Moments, PairedTest, paired_t_test


class Kind(StrEnum):
    """What a model is."""

    HEURISTIC = "heuristic"
    RUN = "run"
    ORACLE = "oracle"


@dataclass(frozen=True)
class ModelSummary:
    """A row of Table 2."""

    name: str
    title: str
    kind: Kind
    means: Mapping[str, float]
    """By metric; NaN where no session is scored."""


@dataclass(frozen=True)
class Summary:
    """Table 2 and what it rests on."""

    models: tuple[ModelSummary, ...]
    """Heuristics, then runs, then oracles."""
    references: tuple[str, ...]
    """Runs that are tested against every other model."""
    users: int
    """Users with a scored session."""
    sessions: int
    """Sessions of the split that have an s⁺."""
    without_target: int | None
    """Sessions of the split that have none, and so are not scored (decision 4); None: not told."""
    scored: Mapping[str, int]
    """Sessions scored, by metric; the same for every model."""
    tests: Mapping[tuple[str, str], Mapping[str, PairedTest]]
    """By reference and other model, then by metric."""

    def share(self, metric: str) -> float:
        """Sessions scored by the metric, of `sessions`; NaN if there are none."""
        return self.scored[metric] / self.sessions if self.sessions else np.nan

    def best(self, metric: Metric) -> frozenset[str]:
        """Names of the models with the best mean, oracles aside; ties are all best."""
        sign = 1.0 if metric.higher_is_better else -1.0
        means = {
            model.name: sign * model.means[metric.name]
            for model in self.models
            if model.kind is not Kind.ORACLE and not np.isnan(model.means[metric.name])
        }
        return frozenset(name for name, mean in means.items() if mean == max(means.values()))


class SummaryBuilder:
    """Gathers the summary of scores that come shard by shard, each user's in one shard."""

    def __init__(self, models: Iterable[str], *, references: Sequence[str] = ()) -> None:
        """Starts without scores.

        Args:
            models: Names of all the models that will be scored; others are runs.
            references: Those of them to be tested against every other one.

        Raises:
            ValueError: A reference is not among the models.
        """
        names = list(dict.fromkeys(models))
        runs = [name for name in names if name not in RESERVED_RUN_NAMES]
        self._kinds = (
            {name: Kind.HEURISTIC for name in HEURISTICS if name in names}
            | dict.fromkeys(runs, Kind.RUN)
            | {name: Kind.ORACLE for name in ORACLES if name in names}
        )
        unknown = [name for name in references if name not in self._kinds]
        if unknown:
            raise ValueError(f"references {unknown} are not among the models {names}")
        self._references = tuple(references)
        self._users = 0
        self._sessions = 0
        self._without_target: int | None = None
        self._values = {(name, metric.name): Moments() for name in names for metric in METRICS}
        self._differences = {
            (reference, other, metric.name): Moments()
            for reference in references
            for other in self._kinds
            if other != reference
            for metric in METRICS
        }

    def add(self, scores: pa.Table, *, without_target: int | None = None) -> None:
        """Adds scores of whole users, as `score_sessions` gives them.

        Args:
            scores: All models' scores.
            without_target: Sessions of the split, of these users, that have no s⁺.

        Raises:
            ValueError: The models are others, or have not scored the same sessions.
        """
        if without_target is not None:
            self._without_target = (self._without_target or 0) + without_target
        values, num_users = _by_model(scores)
        if not values:
            return
        if set(values) != set(self._kinds):
            raise ValueError(f"scores of {sorted(values)}, expected {sorted(self._kinds)}")
        self._users += num_users
        self._sessions += len(next(iter(values.values()))[COSINE])
        for name, metric in self._values:
            self._values[name, metric] += Moments.of(values[name][metric])
        for reference, other, metric in self._differences:
            self._differences[reference, other, metric] += Moments.of(
                values[reference][metric] - values[other][metric]
            )

    def build(self) -> Summary:
        """The summary of what has been added so far.

        Raises:
            ValueError: The models have been scored on different numbers of sessions.
        """
        scored = {}
        for metric in METRICS:
            counts = {self._values[name, metric.name].count for name in self._kinds} or {0}
            if len(counts) > 1:
                raise ValueError(f"{metric.name} is scored on other sessions for other models")
            scored[metric.name] = counts.pop()
        tests: dict[tuple[str, str], dict[str, PairedTest]] = {}
        for (reference, other, metric_name), differences in self._differences.items():
            tests.setdefault((reference, other), {})[metric_name] = paired_t_test(differences)
        return Summary(
            models=tuple(self._model(name, kind) for name, kind in self._kinds.items()),
            references=self._references,
            users=self._users,
            sessions=self._sessions,
            without_target=self._without_target,
            scored=scored,
            tests=tests,
        )

    def _model(self, name: str, kind: Kind) -> ModelSummary:
        moments = {metric.name: self._values[name, metric.name] for metric in METRICS}
        means = {metric: m.mean if m.count else np.nan for metric, m in moments.items()}
        return ModelSummary(name, {**HEURISTICS, **ORACLES}.get(name, name), kind, means)


def summarize(scores: pa.Table, *, references: Sequence[str] = ()) -> Summary:
    """The summary of a whole table of scores, such as `scores.parquet`.

    Raises:
        ValueError: A reference is not among the models, or they have not scored the same sessions.
    """
    builder = SummaryBuilder(scores["model"].unique().to_pylist(), references=references)
    builder.add(scores)
    return builder.build()


def _by_model(scores: pa.Table) -> tuple[dict[str, dict[str, np.ndarray]], int]:
    """The metrics by model, NaN for null, all models in the same order; and the number of users."""
    users = scores["user_id"].combine_chunks().dictionary_encode()
    keys = np.stack([users.indices.to_numpy(), scores["session_start"].to_numpy()])
    models = scores["model"].combine_chunks().dictionary_encode()
    columns = {metric.name: scores[metric.name].to_numpy() for metric in METRICS}
    values, sessions = {}, None
    for code, name in enumerate(models.dictionary.to_pylist()):
        rows = np.flatnonzero(models.indices.to_numpy() == code)
        rows = rows[np.lexsort(keys[::-1, rows])]
        if sessions is None:
            sessions = keys[:, rows]
            if not np.diff(sessions, axis=1).any(axis=0).all():
                raise ValueError(f"{name!r} has more than one score of the same session")
        if not np.array_equal(sessions, keys[:, rows]):
            raise ValueError(f"{name!r} is not scored on the sessions of the other models")
        values[name] = {metric: column[rows] for metric, column in columns.items()}
    return values, len(users.dictionary)
