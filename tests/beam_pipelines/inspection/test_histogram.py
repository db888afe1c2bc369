"""Histograms of integers, against sorted lists."""

import itertools

import numpy as np
import pytest

from beam_pipelines.inspection.bins import bars_of, even_bars
from beam_pipelines.inspection.histogram import BITS, EMPTY, Histogram, gini, rounded

from . import oracle

SAMPLES = {
    "one": [7],
    "equal": [3, 3, 3, 3],
    "with zeros": [0, 0, 5, 1],
    "hundred": list(range(100)),
    "skewed": [1] * 50 + [2] * 30 + [10] * 15 + [4_000, 3_000_000],
}


@pytest.mark.parametrize("values", SAMPLES.values(), ids=list(SAMPLES))
def test_a_histogram_says_what_the_list_does(values):
    histogram = Histogram.of(np.array(values))
    assert (histogram.size, histogram.total) == (len(values), sum(values))
    assert histogram.mean == sum(values) / len(values)
    assert (histogram.minimum, histogram.maximum) == (min(values), max(values))
    assert histogram.quantiles() == oracle.quantiles(values)
    for number in range(len(values) + 2):
        largest = sum(sorted(values, reverse=True)[:number])
        assert histogram.total_of_largest(number) == largest
    for least in {0, 1, 3, *values}:
        assert histogram.size_from(least) == sum(value >= least for value in values)


def test_parts_add_up_in_any_order():
    rng = np.random.default_rng(0)
    values = rng.zipf(1.5, 500)
    parts = [Histogram.of(part) for part in np.split(values, [3, 3, 200])]
    for order in itertools.permutations(parts):
        whole = sum(order, EMPTY)
        assert whole.values.tolist() == sorted(set(values.tolist()))
        assert dict(zip(whole.values.tolist(), whole.counts.tolist(), strict=True)) == {
            value: values.tolist().count(value) for value in set(values.tolist())
        }


def test_an_empty_one_has_no_mean_and_no_quantiles():
    assert (EMPTY.size, EMPTY.total, EMPTY.mean) == (0, 0, None)
    assert (EMPTY.minimum, EMPTY.maximum) == (None, None)
    assert set(EMPTY.quantiles().values()) == {None}
    assert EMPTY.size_from(0) == EMPTY.total_of_largest(5) == 0


def test_rounded_values_are_close_and_few():
    small = np.arange(2**BITS)
    np.testing.assert_array_equal(rounded(small), small)
    rng = np.random.default_rng(1)
    values = np.concatenate(
        [
            rng.integers(0, 10 ** rng.integers(1, 10), 300_000),
            2 ** np.arange(45),
            2 ** np.arange(1, 45) - 1,
        ],
        axis=None,
    )
    near = rounded(values)
    assert (np.abs(near - values) <= values / 2**BITS).all()
    order = np.argsort(values)
    assert (np.diff(near[order]) >= 0).all()
    assert len(np.unique(rounded(np.arange(2**20, 2**21)))) == 2 ** (BITS - 1)


def test_gini_is_that_of_all_pairs():
    rng = np.random.default_rng(2)
    for counts in ([1], [5, 5, 5], [0, 0, 9], rng.zipf(1.6, 80).tolist()):
        assert gini(np.array(counts)) == pytest.approx(oracle.gini(counts), abs=1e-12)
    assert gini(np.array([0, 0, 9])) == pytest.approx(2 / 3)
    assert gini(np.zeros(0, np.int64)) is None


# Bars --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", SAMPLES.values(), ids=list(SAMPLES))
def test_the_area_of_a_bar_is_what_is_in_it(values):
    bars = bars_of(Histogram.of(np.array(values)))
    widths = np.diff(np.log2(bars.edges)) if bars.is_log else np.ones(len(bars.heights))
    found = (bars.heights * widths).round(6).tolist()
    for number, (low, high) in enumerate(itertools.pairwise(bars.edges.tolist())):
        assert found[number] == sum(low < value < high for value in values)
    # Every integer is well inside of one.
    assert ((bars.edges % 1) == 0.5).all()
    shown = [value for value in values if value or not bars.is_log]
    assert sum(found) == len(shown)
    assert len(bars.heights) <= 100


def test_the_axis_fits_the_values():
    assert bars_of(Histogram.of(np.array(SAMPLES["skewed"]))).is_log
    assert not bars_of(Histogram.of(np.array(SAMPLES["hundred"]))).is_log
    # Few values stand for themselves.
    assert bars_of(Histogram.of(np.array([1, 1, 1, 14]))).edges.tolist() == [
        0.5 + place for place in range(15)
    ]
    assert bars_of(Histogram.of(np.array([7]))).edges.tolist() == [6.5, 7.5]


def test_even_bars_are_equally_wide_and_lose_nothing():
    rng = np.random.default_rng(3)
    for values in ([1_200], rng.integers(1_200, 5_000_000, 2_000)):
        bars = even_bars(Histogram.of(rounded(np.array(values))))
        widths = np.diff(np.log2(bars.edges))
        np.testing.assert_allclose(widths, widths[0])
        assert (bars.heights * widths).sum() == pytest.approx(len(values))
