"""Models, and the direction of every difference."""

import pytest

from cosernn_tf.evaluation.metrics import METRICS
from experiments.reporting.models import comparison_of, groups_of, title_of
from tests.experiments.reporting.planted import alike, planted, statistics

METRIC = {metric.name: metric for metric in METRICS}


@pytest.fixture
def comparison():
    return planted(
        {
            "last_any": alike(0.2, 8.0),
            "better": alike(0.5, 10.0, ap_25=0.1),
            "worse": alike(0.4, 12.0),
            "oracle_full": alike(1.0, 1.0),
        },
        unsure=frozenset({("better", "worse", "session_rr_20")}),
    )


def test_runs_that_differ_in_the_seed_are_one_model():
    runs = ["a-seed1", "b", "a-seed2", "my-a-seed1", "c-seed10", "seedling", "-seed1"]
    assert groups_of(runs) == {
        "a": ("a-seed1", "a-seed2"),
        "b": ("b",),
        "my-a": ("my-a-seed1",),
        "c": ("c-seed10",),
        "seedling": ("seedling",),
        "-seed1": ("-seed1",),
    }


def test_runs_that_differ_in_more_than_the_seed_are_not_one_model():
    runs = ("a-seed1", "a-seed2", "b-seed1", "b-seed2")
    configs = {run: {"seed": int(run[-1]), "max_epochs": 20} for run in runs}
    assert groups_of(runs, configs) == {"a": runs[:2], "b": runs[2:]}
    # Of predictions from elsewhere nothing is known.
    assert groups_of(runs, {"a-seed1": configs["a-seed1"]}) == {"a": runs[:2], "b": runs[2:]}
    configs["a-seed2"]["max_epochs"] = 50
    assert groups_of(runs, configs) == {
        "a-seed1": ("a-seed1",), "a-seed2": ("a-seed2",), "b": runs[2:]
    }  # fmt: skip


def test_a_run_that_is_called_as_a_group_is_not_mixed_with_it():
    groups = groups_of(["a", "a-seed1", "a-seed2"])
    assert sorted(groups.values()) == [("a",), ("a-seed1", "a-seed2")]
    assert groups["a"] == ("a",)


def test_models_are_called_as_in_the_paper():
    titles = {name: title_of(name) for name in ("cosernn", "table3_gap", "table5_encore", "mine")}
    assert titles == {
        "cosernn": "CoSeRNN",
        "table3_gap": "CoSeRNN, features: + time since last",
        "table5_encore": "Encore",
        "mine": "mine",
    }


def test_a_difference_reads_the_same_from_both_sides(comparison):
    there = comparison.difference("better", "last_any", METRIC["cosine"])
    assert there.mean == pytest.approx(0.3)
    assert there.relative == pytest.approx(1.5)
    assert (there.low, there.high) == pytest.approx((0.29, 0.32))
    back = there.reversed
    assert (back.first, back.second) == ("last_any", "better")
    assert back.mean == pytest.approx(-0.3)
    assert back.relative == pytest.approx(-0.6)
    assert (back.low, back.high) == pytest.approx((-0.32, -0.29))
    assert back.reversed == there


@pytest.mark.parametrize("bootstrap", [True, False])
def test_a_difference_is_as_sure_from_both_sides(bootstrap):
    """Holm's correction is model by model, so that only one of the two may leave it below 0.05."""
    content = statistics({"a": alike(0.5, 9.0), "b": alike(0.4, 9.5)}, bootstrap=bootstrap)
    kind = "clustered" if bootstrap else "t_test"
    content["tests"]["a"]["b"]["cosine"][kind]["p_holm"] = 0.04
    content["tests"]["b"]["a"]["cosine"][kind]["p_holm"] = 0.06
    comparison = comparison_of(content)
    for first, second in (("a", "b"), ("b", "a")):
        difference = comparison.difference(first, second, METRIC["cosine"])
        assert difference is not None
        assert (difference.p, difference.is_measurable) == (0.06, False)
    assert not comparison.is_beaten("b", METRIC["cosine"])
    assert comparison.is_beaten("b", METRIC["session_rr_20"])


def test_a_lower_rank_is_a_gain(comparison):
    difference = comparison.difference("better", "worse", METRIC["session_rank_20"])
    assert difference.mean == -2.0
    assert difference.gain == 2.0
    assert not comparison.is_beaten("last_any", METRIC["session_rank_20"])
    assert comparison.is_beaten("better", METRIC["session_rank_20"])


def test_only_what_is_measurable_beats(comparison):
    assert comparison.is_beaten("worse", METRIC["cosine"])
    assert not comparison.is_beaten("worse", METRIC["session_rr_20"])
    assert comparison.is_beaten("better", METRIC["ap_25"])


def test_oracles_are_no_candidates(comparison):
    assert [model.name for model in comparison.deployable] == ["last_any", "better", "worse"]
    assert [model.name for model in comparison.best(METRIC["cosine"])] == ["better"]
    assert not comparison.is_beaten("better", METRIC["cosine"])


def test_users_as_clusters_decide_where_they_were_drawn():
    """The t-test of `planted` finds every difference."""
    means = {"a": alike(0.5, 9.0), "b": alike(0.4, 9.5)}
    unsure = frozenset(("a", "b", name) for name in METRIC)
    with_users = planted(means, unsure=unsure)
    assert not with_users.is_beaten("b", METRIC["cosine"])
    without = planted(means, unsure=unsure, bootstrap=False)
    assert without.is_beaten("b", METRIC["cosine"])
    assert without.resamples is None


def test_deviations_are_over_the_runs_of_a_model():
    of_runs = statistics({"a-seed1": alike(0.4, 9.0), "a-seed2": alike(0.6, 9.0), "b": alike(1, 1)})
    content = statistics({"a": alike(0.5, 9.0), "b": alike(1, 1)})
    comparison = comparison_of(
        content, seeds={"a": ("a-seed1", "a-seed2"), "b": ("b",)}, of_runs=of_runs
    )
    assert comparison.by_name["a"].deviations["cosine"] == pytest.approx(0.02**0.5)
    assert comparison.by_name["b"].deviations["cosine"] is None
    assert comparison.by_name["a"].runs == ("a-seed1", "a-seed2")
