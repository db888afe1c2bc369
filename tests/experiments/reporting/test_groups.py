"""Whom a model serves worst, and what the tables of the paper agree in."""

import pytest

from cosernn_tf.evaluation.metrics import METRICS
from experiments.reporting.models import range_of
from experiments.reporting.sections.groups import served_worst
from experiments.reporting.sections.paper import _agreement, _same

METRIC = {metric.name: metric for metric in METRICS}


def row(group: str, mean: float, low: float | None, high: float | None) -> dict[str, object]:
    return {"group": group, "mean": mean, "low": low, "high": high, "users": 20}


SURE = row("sure", 0.45, 0.42, 0.48)
SURER = row("surer", 0.47, 0.46, 0.48)
VAGUE = row("vague", 0.40, 0.25, 0.55)
BETTER = row("better", 0.60, 0.58, 0.62)
WITHOUT = row("without", 0.10, None, None)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # The lowest mean is not the worst if the mean of all is in its interval.
        ([VAGUE, SURER, SURE, BETTER], (SURE, True)),
        ([VAGUE, BETTER, WITHOUT], (VAGUE, False)),
        ([BETTER, WITHOUT], None),
        ([], None),
    ],
)
def test_the_worst_group_is_one_that_is_measurably_worse(rows, expected):
    assert served_worst(rows, 0.5, METRIC["cosine"]) == expected


def test_of_ranks_the_worst_is_the_highest():
    sure, vague = row("sure", 11.0, 10.5, 11.5), row("vague", 12.0, 9.5, 14.0)
    low = row("low", 8.0, 7.0, 9.0)
    rank = METRIC["session_rank_20"]
    assert served_worst([low, vague, sure], 10.0, rank) == (sure, True)
    assert served_worst([low, vague], 10.0, rank) == (vague, False)


def test_ranges_are_those_of_the_metrics():
    assert range_of(METRIC["cosine"]) == (-1.0, 1.0)
    assert range_of(METRIC["session_rank_50"]) == (1.0, 50.0)
    assert range_of(METRIC["ap_25"]) == range_of(METRIC["session_rr_20"]) == (0.0, 1.0)


def cell(mean: str, relative: str, paper: str) -> dict[str, str]:
    return {"mean": mean, "relative": relative, "paper_relative": paper}


def test_rows_that_nothing_tells_apart_are_found_and_counted_once():
    cells = {
        ("all", "cosine"): cell("0.3", "0.01", "-0.02"),
        ("all", "ap_100"): cell("0.2", "-0.1", "-0.2"),
        ("played", "cosine"): cell("0.3", "0.01", "-0.01"),
        ("played", "ap_100"): cell("0.2", "-0.1", "-0.1"),
        ("both", "cosine"): cell("0.3", "-0.01", "-0.01"),
        ("both", "ap_100"): cell("0.21", "-0.1", "-0.1"),
    }
    metrics = [METRIC["cosine"], METRIC["ap_100"]]
    assert _same(cells, ["all", "played", "both"], metrics) == [["all", "played"]]
    text = _agreement(cells, ["all", "both"]).replace("\xa0", " ")
    assert text == "Δ has the paper's sign in 3 of 4 cells, in all of mAP at K = 100."
