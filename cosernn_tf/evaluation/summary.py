"""The means behind Table 2, the sessions they are over, and the tests between models.

Scores are added shard by shard, so that memory does not grow with the number of sessions. The
bootstrap, which takes users as clusters, needs 8 bytes a user, model and metric.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa

from cosernn_tf.config import RESERVED_RUN_NAMES
from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.comparisons import (
    ClusteredResults,
    Comparison,
    Interval,
    Pair,
    compare,
)
from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.evaluation.metrics import COSINE, METRICS, Metric
from cosernn_tf.evaluation.significance import Moments, PairedTest, paired_t_test
from cosernn_tf.evaluation.user_sums import UserSumsBuilder

_NO_INTERVAL: Final[Interval] = (np.nan, np.nan)


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
    intervals: Mapping[str, Interval]
    """Of the means, by metric, with users as clusters; NaN without a bootstrap and where there are
    too few users."""


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
    scored_users: Mapping[str, int]
    """Users with a scored session, by metric."""
    bootstrap: Bootstrap | None
    """Of intervals and clustered tests; None: there are none."""
    tests: Mapping[Pair, Mapping[str, Comparison]]
    """By reference and other model, then by metric."""

    def share(self, metric: str) -> float:
        """Sessions scored by the metric, of `sessions`; NaN if there are none."""
        return self.scored[metric] / self.sessions if self.sessions else np.nan

    def users_share(self, metric: str) -> float:
        """Users with a session scored by the metric, of `users`; NaN if there are none."""
        return self.scored_users[metric] / self.users if self.users else np.nan

    def number_of_tests(self, reference: str) -> int:
        """Those with users as clusters, whose p-values are corrected together."""
        return sum(
            test.clustered is not None and not np.isnan(test.clustered.p_value)
            for (of, _), tests in self.tests.items()
            for test in tests.values()
            if of == reference
        )

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

    def __init__(
        self,
        models: Iterable[str],
        *,
        references: Sequence[str] = (),
        bootstrap: Bootstrap | None = None,
    ) -> None:
        """Starts without scores.

        Args:
            models: Names of all the models that will be scored; others are runs.
            references: Those of them to be tested against every other one.
            bootstrap: Of intervals and of tests with users as clusters; None for no such.

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
        self._bootstrap = bootstrap
        self._scored_users = {metric.name: 0 for metric in METRICS}
        self._sums = UserSumsBuilder(list(self._kinds), list(self._scored_users))

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
        values, users, user_of_session = _by_model(scores)
        if not values:
            return
        if set(values) != set(self._kinds):
            raise ValueError(f"scores of {sorted(values)}, expected {sorted(self._kinds)}")
        self._users += len(users)
        self._sessions += len(next(iter(values.values()))[COSINE])
        for name, metric in self._values:
            self._values[name, metric] += Moments.of(values[name][metric])
        for reference, other, metric in self._differences:
            self._differences[reference, other, metric] += Moments.of(
                values[reference][metric] - values[other][metric]
            )
        for metric in self._scored_users:
            is_scored = [~np.isnan(of_model[metric]) for of_model in values.values()]
            if not all(np.array_equal(is_scored[0], mask) for mask in is_scored):
                raise ValueError(f"{metric} is scored on other sessions for other models")
            self._scored_users[metric] += len(np.unique(user_of_session[is_scored[0]]))
        if self._bootstrap is not None:
            self._sums.add(users, user_of_session, values)

    def build(self) -> Summary:
        """The summary of what has been added so far."""
        scored = {
            metric.name: self._values[next(iter(self._kinds)), metric.name].count
            for metric in METRICS
        }
        means = {name: self._means(name) for name in self._kinds}
        clustered = None
        if self._bootstrap is not None:
            pairs = [(reference, other) for reference, other, _ in self._differences]
            clustered = ClusteredResults(
                list(self._kinds), pairs, sums=self._sums.build(), bootstrap=self._bootstrap
            )
        paired: dict[Pair, dict[str, PairedTest]] = {}
        for (reference, other, metric_name), differences in self._differences.items():
            paired.setdefault((reference, other), {})[metric_name] = paired_t_test(differences)
        return Summary(
            models=tuple(
                ModelSummary(
                    name=name,
                    title={**HEURISTICS, **ORACLES}.get(name, name),
                    kind=kind,
                    means=means[name],
                    intervals={
                        metric: _NO_INTERVAL
                        if clustered is None
                        else clustered.interval(name, metric)
                        for metric in scored
                    },
                )
                for name, kind in self._kinds.items()
            ),
            references=self._references,
            users=self._users,
            sessions=self._sessions,
            without_target=self._without_target,
            scored=scored,
            scored_users=dict(self._scored_users),
            bootstrap=self._bootstrap,
            tests=compare(paired, means=means, users=self._scored_users, clustered=clustered),
        )

    def _means(self, name: str) -> dict[str, float]:
        moments = {metric.name: self._values[name, metric.name] for metric in METRICS}
        return {metric: m.mean if m.count else np.nan for metric, m in moments.items()}


def summarize(
    scores: pa.Table, *, references: Sequence[str] = (), bootstrap: Bootstrap | None = None
) -> Summary:
    """The summary of a whole table of scores, such as `scores.parquet`.

    Raises:
        ValueError: A reference is not among the models, or they have not scored the same sessions.
    """
    models = scores["model"].unique().to_pylist()
    builder = SummaryBuilder(models, references=references, bootstrap=bootstrap)
    builder.add(scores)
    return builder.build()


def _by_model(
    scores: pa.Table,
) -> tuple[dict[str, dict[str, np.ndarray]], pa.Array, np.ndarray]:
    """The metrics by model, NaN for null, all in the same order: user by user, each in time.

    Beside them the users' ids, and (sessions,) int64, the place of each session's user among them.
    """
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
    user_of_session = np.zeros(0, np.int64) if sessions is None else sessions[0]
    return values, users.dictionary, user_of_session
