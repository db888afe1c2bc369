"""Metrics of retrieval against every order of what ties, and against closed forms."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from cosernn_tf.evaluation.catalogue_metrics import (
    BEYOND,
    CATALOGUE_METRICS,
    CUTOFFS,
    Part,
    catalogue_scores,
    hit,
    ndcg,
    recall,
    rr,
)

NAMES = [metric.name for metric in CATALOGUE_METRICS]


def ranking_metrics(places: list[int], count: int) -> dict[str, float]:
    """Of one ranking: `places` of those of `count` relevant tracks that are anywhere, from 1."""
    found = {}
    for k in CUTOFFS:
        among = [place for place in places if place <= k]
        ideal = sum(1 / math.log2(1 + place) for place in range(1, min(count, k) + 1))
        found[f"recall_{k}"] = len(among) / count
        found[f"ndcg_{k}"] = sum(1 / math.log2(1 + place) for place in among) / ideal
        found[f"hit_{k}"] = float(bool(among))
    first = min(places, default=math.inf)
    found["rr_100"] = 1 / first if first <= 100 else 0.0
    return found


def expected_metrics(scores: np.ndarray, relevant: list[int]) -> dict[str, float]:
    """The mean over all orders of tracks with equal scores, enumerated where it matters."""
    groups: dict[float, list[int]] = {}
    for track in relevant:
        groups.setdefault(float(scores[track]), []).append(track)
    options = []
    for score, members in groups.items():
        first = 1 + int((scores > score).sum())
        tied = int((scores == score).sum())
        options.append(list(itertools.combinations(range(first, first + tied), len(members))))
    orders = [list(itertools.chain(*order)) for order in itertools.product(*options)]
    found = [ranking_metrics(places, len(relevant)) for places in orders]
    return {name: float(np.mean([of[name] for of in found])) for name in found[0]}


def places_of(scores: np.ndarray, relevant: list[int], slots: int = 10) -> tuple:
    """What the search tells of one ranking: (1, slots) first places and ties."""
    first, tied = np.full((1, slots), BEYOND), np.ones((1, slots), np.int64)
    for slot, track in enumerate(relevant):
        above = int((scores > scores[track]).sum())
        if above < CUTOFFS[-1]:
            first[0, slot] = 1 + above
            tied[0, slot] = (scores == scores[track]).sum()
    mask = np.arange(slots)[None] < len(relevant)
    return first, tied, mask


def test_columns():
    assert NAMES[:7] == [
        *("catalogue_recall_10", "catalogue_ndcg_10", "catalogue_hit_10"),
        *("catalogue_recall_100", "catalogue_ndcg_100", "catalogue_hit_100"),
        "catalogue_rr_100",
    ]
    assert NAMES[7:] == [f"{n}_{p}" for p in ("repeated", "new") for n in NAMES[:7]]


@pytest.mark.parametrize("levels", [2, 4, 15, 60, 10**6])
def test_they_are_the_mean_over_all_orders(levels):
    """From two scores for all tracks to hardly a tie; ties stand at every place."""
    rng = np.random.default_rng(levels)
    for _ in range(60):
        size = int(rng.choice([3, 12, 60, 130]))
        scores = rng.integers(0, levels, size) / levels
        relevant = rng.permutation(size)[: rng.integers(1, 4)].tolist()
        ties = [int((scores == scores[track]).sum()) for track in relevant]
        if math.prod(ties) > 20_000:
            continue
        first, tied, mask = places_of(scores, relevant)
        actual = catalogue_scores(first, tied, dict.fromkeys(Part, mask))
        for name, expected in expected_metrics(scores, relevant).items():
            assert actual[f"catalogue_{name}"][0] == pytest.approx(expected, abs=1e-12), name


def test_by_hand():
    # Six tracks: places 1, 2-4 tied, 5, 6; relevant are one of the tied ones and the last.
    scores = np.array([0.9, 0.5, 0.5, 0.5, 0.3, 0.1])
    first, tied, mask = places_of(scores, [2, 5])
    found = catalogue_scores(first, tied, dict.fromkeys(Part, mask))
    assert found[rr()][0] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4) / 3)
    gain = (1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)) / 3 + 1 / math.log2(7)
    assert found[ndcg(10)][0] == pytest.approx(gain / (1 + 1 / math.log2(3)))
    assert found[recall(10)][0] == found[hit(10)][0] == 1


@pytest.mark.parametrize(("size", "count"), [(5, 2), (10, 3), (37, 1), (5_000, 10), (10**6, 4)])
def test_whoever_knows_nothing_has_the_closed_form(size, count):
    """All tracks tie: what is found is hypergeometric."""
    first = np.where(np.arange(10) < count, 1, BEYOND)[None]
    tied = np.full((1, 10), size)
    mask = np.arange(10)[None] < count
    found = catalogue_scores(first, tied, dict.fromkeys(Part, mask))

    def none_of(taken: int) -> Fraction:
        """Probability that so many tracks have no relevant one."""
        return Fraction(math.comb(size - count, taken), math.comb(size, taken))

    for k in CUTOFFS:
        assert found[recall(k)][0] == pytest.approx(min(k / size, 1), rel=1e-9)
        assert found[hit(k)][0] == pytest.approx(float(1 - none_of(min(k, size))), rel=1e-9)
        discounts = 1 / np.log2(1 + np.arange(1, k + 1))
        gain = count * discounts[:size].sum() / size
        assert found[ndcg(k)][0] == pytest.approx(gain / discounts[:count].sum(), rel=1e-9)
    # The first of the relevant is beyond j places with a probability that falls from 1.
    beyond = [none_of(j) for j in range(min(100, size) + 1)]
    expected = sum((beyond[j] - beyond[j + 1]) / (j + 1) for j in range(min(100, size)))
    assert found[rr()][0] == pytest.approx(float(expected), rel=1e-9)


def test_parts_are_scored_alone_and_null_without_any():
    scores = np.linspace(1, 0, 300)
    first, tied, _ = places_of(scores, [4, 19, 200])
    parts = {
        Part.ALL: np.arange(10)[None] < 3,
        Part.REPEATED: np.arange(10)[None] == 1,
        Part.NEW: np.zeros((1, 10), bool),
    }
    found = catalogue_scores(first, tied, parts)
    assert list(found) == NAMES
    assert found[recall(10)][0] == pytest.approx(1 / 3)
    assert found[recall(100)][0] == pytest.approx(2 / 3)
    assert found[rr()][0] == 1 / 5
    assert found[recall(10, Part.REPEATED)][0] == 0
    assert found[ndcg(100, Part.REPEATED)][0] == pytest.approx(1 / math.log2(21))
    assert found[rr(Part.REPEATED)][0] == 1 / 20
    assert all(np.isnan(found[name][0]) for name in NAMES if name.endswith("new"))
