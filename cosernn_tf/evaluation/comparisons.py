"""A reference and another model: both tests, corrected for their number, and the effect's size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cosernn_tf.evaluation.clusters import Bootstrap, Contrast, clustered_means
from cosernn_tf.evaluation.significance import PairedTest, holm
from cosernn_tf.evaluation.user_sums import UserSums

CONFIRMED_BELOW: Final = 0.05
"""Level at which findings hold with users as clusters, of all tests of a reference together."""

Interval = tuple[float, float]
Pair = tuple[str, str]
"""A reference and another model."""


@dataclass(frozen=True)
class ClusteredTest:
    """The test that takes users as clusters; NaN where there are too few (`clusters.MIN_USERS`)."""

    statistic: float
    """t, of the clustered standard error."""
    p_value: float
    p_holm: float
    standard_error: float
    interval: Interval
    """Of the mean difference."""
    design_effect: float
    """By how much the mean's variance is that which independent sessions would have."""


@dataclass(frozen=True)
class Comparison:
    """A reference and another model by one metric."""

    paired: PairedTest
    paired_holm: float
    relative: float
    """The mean difference as a share of the other's mean, whose sign is left aside."""
    users: int
    """With a scored session."""
    clustered: ClusteredTest | None
    """None without a bootstrap."""

    @property
    def is_confirmed(self) -> bool:
        """Whether the difference holds with users as clusters, corrected for all tests."""
        return self.clustered is not None and self.clustered.p_holm < CONFIRMED_BELOW


class ClusteredResults:
    """Means and differences of all models with users as clusters."""

    def __init__(
        self,
        models: Sequence[str],
        pairs: Iterable[Pair],
        *,
        sums: Mapping[str, UserSums],
        bootstrap: Bootstrap,
    ) -> None:
        """Draws the resamples.

        Args:
            models: In the order of the sums.
            pairs: References with other models.
            sums: By metric.
            bootstrap: Of all of them.
        """
        self._places = {name: place for place, name in enumerate(models)}
        contrasts: list[Contrast] = [(place, None) for place in self._places.values()]
        # Two references are each other's other model: they are compared once.
        contrasts += dict.fromkeys(self._ordered(pair) for pair in pairs)
        self._rows = {contrast: row for row, contrast in enumerate(contrasts)}
        found = clustered_means(list(sums.values()), contrasts, bootstrap)
        self._found = dict(zip(sums, found, strict=True))

    def interval(self, model: str, metric: str) -> Interval:
        """Of a model's mean."""
        found, row = self._found[metric], self._rows[self._places[model], None]
        return float(found.low[row]), float(found.high[row])

    def p_value(self, pair: Pair, metric: str) -> float:
        return float(self._found[metric].p_values[self._rows[self._ordered(pair)]])

    def test(
        self, pair: Pair, metric: str, *, p_holm: float, independent_error: float
    ) -> ClusteredTest:
        """Of a pair's difference.

        Args:
            pair: A reference and another model.
            metric: Its name.
            p_holm: The corrected p-value.
            independent_error: The standard error if sessions were independent.
        """
        found, row = self._found[metric], self._rows[self._ordered(pair)]
        mean, error = found.means[row], found.standard_errors[row]
        low, high = found.low[row], found.high[row]
        if self._ordered(pair) != self._placed(pair):
            mean, low, high = -mean, -high, -low
        with np.errstate(divide="ignore", invalid="ignore"):
            return ClusteredTest(
                statistic=float(mean / error) if mean else float(mean),
                p_value=float(found.p_values[row]),
                p_holm=p_holm,
                standard_error=float(error),
                interval=(float(low), float(high)),
                design_effect=float(np.square(error / np.float64(independent_error))),
            )

    def _placed(self, pair: Pair) -> tuple[int, int]:
        return self._places[pair[0]], self._places[pair[1]]

    def _ordered(self, pair: Pair) -> tuple[int, int]:
        first, second = self._placed(pair)
        return min(first, second), max(first, second)


def compare(
    paired: Mapping[Pair, Mapping[str, PairedTest]],
    *,
    means: Mapping[str, Mapping[str, float]],
    users: Mapping[str, int],
    clustered: ClusteredResults | None,
) -> dict[Pair, dict[str, Comparison]]:
    """Puts together what is known of each pair, and corrects p-values reference by reference.

    Args:
        paired: By pair and metric.
        means: By model and metric.
        users: With a scored session, by metric.
        clustered: Of these pairs and metrics; None without a bootstrap.

    Returns:
        In the order of `paired`.
    """
    found: dict[Pair, dict[str, Comparison]] = {pair: {} for pair in paired}
    for reference in dict.fromkeys(reference for reference, _ in paired):
        tests = [
            (pair, metric) for pair in paired if pair[0] == reference for metric in paired[pair]
        ]
        of_sessions = holm(np.array([paired[pair][metric].p_value for pair, metric in tests]))
        of_users = np.full(len(tests), np.nan)
        if clustered is not None:
            of_users = holm(np.array([clustered.p_value(*test) for test in tests]))
        for (pair, metric), paired_holm, p_holm in zip(tests, of_sessions, of_users, strict=True):
            test, other = paired[pair][metric], means[pair[1]][metric]
            found[pair][metric] = Comparison(
                paired=test,
                paired_holm=float(paired_holm),
                relative=test.mean_difference / abs(other) if other else np.nan,
                users=users[metric],
                clustered=None
                if clustered is None
                else clustered.test(
                    pair, metric, p_holm=float(p_holm), independent_error=test.standard_error
                ),
            )
    return found
