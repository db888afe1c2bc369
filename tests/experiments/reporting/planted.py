"""The statistics of `metrics.json`, made up so that the answer is known."""

from collections.abc import Mapping
from typing import Any

from cosernn_tf.evaluation.heuristics import HEURISTICS, ORACLES
from cosernn_tf.evaluation.metrics import METRICS
from experiments.reporting.models import Comparison, comparison_of

SURE, UNSURE = 0.001, 0.4
METRIC_NAMES = tuple(metric.name for metric in METRICS)


def kind_of(name: str) -> str:
    if name in HEURISTICS:
        return "heuristic"
    return "oracle" if name in ORACLES else "run"


def statistics(
    means: Mapping[str, Mapping[str, float]],
    unsure: frozenset[tuple[str, str, str]] = frozenset(),
    *,
    signs: frozenset[tuple[str, str, str]] = frozenset(),
    bootstrap: bool = True,
    scored: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Of models with these means.

    Args:
        means: By model and metric.
        unsure: Pairs, either way round, and the metric by which they are not told apart; all others
            with different means are.
        signs: Those of `unsure` that would be told apart without the correction.
        bootstrap: Whether there are intervals and tests with users as clusters.
        scored: Sessions by metric, where not 1,000.
    """
    full = {name: dict(of_model) for name, of_model in means.items()}

    def test(first: str, second: str, metric: str) -> dict[str, Any]:
        difference = full[first][metric] - full[second][metric]
        pair = {(first, second, metric), (second, first, metric)}
        p = UNSURE if pair & unsure or not difference else SURE
        alone = p * (0.01 if pair & signs else 0.5)
        clustered = {"t": 3.0, "p_value": alone, "p_holm": p, "standard_error": 0.1}
        return {
            "sessions": 1_000,
            "users": 50,
            "mean_difference": difference,
            "relative_percent": 100 * difference / abs(full[second][metric]),
            "cohens_d": 0.1,
            "interval": [difference - 0.01, difference + 0.02] if bootstrap else None,
            # The t-test finds everything: whoever goes by it, is found out.
            "t_test": {"t": 9.0, "p_value": 1e-9, "p_holm": 1e-8},
            "clustered": {**clustered, "design_effect": 4.0} if bootstrap else None,
        }

    candidates = [name for name in full if kind_of(name) != "oracle"]
    return {
        "users": 50,
        "sessions": 1_000,
        "sessions_without_target": 30,
        "scored": {
            metric: {
                "sessions": (scored or {}).get(metric, 1_000),
                "share": (scored or {}).get(metric, 1_000) / 1_000,
                "users": 50,
                "users_share": 1.0,
            }
            for metric in METRIC_NAMES
        },
        "bootstrap": {"cluster": "user", "resamples": 999, "seed": 1, "level": 0.95}
        if bootstrap
        else None,
        "models": {
            name: {
                "title": {**HEURISTICS, **ORACLES}.get(name, name),
                "kind": kind_of(name),
                "metrics": of_model,
                "intervals": {
                    metric: [mean - 0.01, mean + 0.01] if bootstrap else None
                    for metric, mean in of_model.items()
                },
            }
            for name, of_model in full.items()
        },
        "references": candidates,
        "tests": {
            first: {
                second: {metric: test(first, second, metric) for metric in METRIC_NAMES}
                for second in full
                if second != first
            }
            for first in candidates
        },
    }


def planted(means: Mapping[str, Mapping[str, float]], **options: Any) -> Comparison:
    """A comparison of models whose ranks are good where they are low, as all else is where high."""
    return comparison_of(statistics(means, **options))


def alike(value: float, rank: float, **others: float) -> dict[str, float]:
    """Means of a model: the same of all metrics but the ranks."""
    means = {name: rank if "session_rank" in name else value for name in METRIC_NAMES}
    return means | others
