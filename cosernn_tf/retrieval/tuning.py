"""How much of a catalogue ScaNN has to look at: the least that finds the share asked for.

Both knobs, leaves to search and candidates to score again, are found by bisection on a sample of
the queries, and checked on all of them.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from absl import logging

from cosernn_tf.retrieval.approximate import ScannSearcher, ScannSettings
from cosernn_tf.retrieval.contract import Neighbours, recall

_SAMPLE: Final = 256
"""Queries on which settings are tried."""
_MOST_REORDERED: Final = 24
"""Times k: with more, exact search is not far."""
_MORE_LEAVES: Final = (1.0, 1.3, 1.7, 2.5)
"""Of the fewest that will do, since with more of them fewer candidates may suffice."""
_REORDERED_COST: Final = 100
"""Vectors whose codes are scored in the time in which one candidate is scored again: it is
somewhere in memory, they are one after another."""
_MORE: Final = 1.03
"""By how much both knobs are turned up where the sample was easier than all queries."""


@dataclass(frozen=True)
class Tuned:
    """Where tuning ended."""

    searcher: ScannSearcher
    recall: float
    """On all queries."""
    reached: bool
    """Whether that is what was asked for."""


def tune(
    built: ScannSearcher, queries: np.ndarray, exact: Neighbours, *, k: int, min_recall: float
) -> Tuned:
    """The cheapest settings of an index that reach `min_recall`.

    Args:
        built: The index, with any settings.
        queries: (n, dim) float32, at least one.
        exact: Their k exact neighbours.
        k: Neighbours to find.
        min_recall: Least mean share of them.
    """
    sample = np.random.default_rng(0).permutation(len(queries))[:_SAMPLE]
    few, truth = queries[sample], Neighbours(exact.rows[sample], exact.scores[sample])
    leaves = built.settings.leaves
    most = ScannSettings(k, leaves, leaves, min(built.size, _MOST_REORDERED * max(k, 100)))

    def reaches(settings: ScannSettings) -> bool:
        found = recall(built.with_settings(settings).search(few, k), truth)
        logging.debug("ScaNN with %s: recall@%d %.4f", settings, k, found)
        return found >= min_recall

    settings = _cheapest(most, reaches, size=built.size)
    while True:
        searcher = built.with_settings(settings)
        found = recall(searcher.search(queries, k), exact)
        logging.info("ScaNN with %s: recall@%d %.4f", settings, k, found)
        if found >= min_recall or settings == most:
            return Tuned(searcher, found, found >= min_recall)
        settings = dataclasses.replace(
            settings,
            leaves_to_search=min(most.leaves, math.ceil(settings.leaves_to_search * _MORE)),
            reorder=min(most.reorder, math.ceil(settings.reorder * _MORE)),
        )


def _cheapest(
    most: ScannSettings, reaches: Callable[[ScannSettings], bool], *, size: int
) -> ScannSettings:
    """Those of the least cost on the sample; `most` if not even these reach what is asked for."""
    if not reaches(most):
        return most
    fewest = 0
    if most.leaves:
        fewest = _least(
            1, most.leaves, lambda n: reaches(dataclasses.replace(most, leaves_to_search=n))
        )
    candidates = []
    for times in _MORE_LEAVES if most.leaves else (1.0,):
        searched = min(most.leaves, math.ceil(fewest * times))
        candidates.append(_with_least_reorder(most, searched, reaches))

    def cost(settings: ScannSettings) -> float:
        searched = settings.leaves_to_search / settings.leaves if settings.leaves else 1.0
        return searched * size + _REORDERED_COST * settings.reorder

    return min(candidates, key=cost)


def _with_least_reorder(
    most: ScannSettings, leaves_to_search: int, reaches: Callable[[ScannSettings], bool]
) -> ScannSettings:
    def settings(reorder: int) -> ScannSettings:
        return dataclasses.replace(most, leaves_to_search=leaves_to_search, reorder=reorder)

    return settings(_least(most.k, most.reorder, lambda reorder: reaches(settings(reorder))))


def _least(low: int, high: int, suffices: Callable[[int], bool]) -> int:
    """About the least number that suffices, as `high` does: to some percent.

    By its logarithm, so that few tries are of many leaves, which take long.
    """
    if suffices(low):
        return low
    while high > low + 1 and high > 1.04 * low:
        middle = min(max(round(math.sqrt(low * high)), low + 1), high - 1)
        if suffices(middle):
            high = middle
        else:
            low = middle
    return high
