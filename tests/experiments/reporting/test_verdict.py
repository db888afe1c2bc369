"""The answer, where it is known: planted means and p-values."""

import dataclasses
from pathlib import Path

import pytest

from cosernn_tf.evaluation.metrics import METRICS
from experiments.reporting.cautions import cautions
from experiments.reporting.costs import Cost, Run
from experiments.reporting.models import Comparison, comparison_of
from experiments.reporting.verdict import decide, headline_metrics
from experiments.reporting.words import headline, reasons
from tests.experiments.reporting.planted import METRIC_NAMES, alike, planted, statistics

BASE = {
    "last_any": alike(0.20, 11.0),
    "avg_same": alike(0.25, 10.5),
    "oracle_full": alike(1.0, 1.0),
}


def cost(*minutes: float, load: float = 0.5) -> Cost:
    machine = {"cpu": "A chip", "cores": 2, "load": 2 * load}
    runs = [
        Run(
            name=f"run-{place}",
            folder=Path("run"),
            history=({"seconds": 60 * value, "sessions_per_second": 1_000.0, "epoch": 1},),
            config={},
            flags="",
            machine=machine,
            index={"latency_median_ms": 0.5},
            parameters=1_234,
        )
        for place, value in enumerate(minutes)
    ]
    return Cost(tuple(runs))


def unsure(*models: str, metrics=METRIC_NAMES) -> frozenset[tuple[str, str, str]]:
    return frozenset((a, b, m) for a in models for b in models if a != b for m in metrics)


def many(comparison: Comparison) -> Comparison:
    """With as many users as a service has."""
    return dataclasses.replace(comparison, users=1_000)


def text_of(comparison, costs=None) -> str:
    verdict = decide(comparison, costs or {})
    return " ".join([headline(verdict), *reasons(verdict, costs or {})]).replace("\xa0", " ")


def test_a_model_that_wins_everything():
    comparison = planted({**BASE, "weak": alike(0.3, 10.0), "strong": alike(0.4, 9.0)})
    costs = {"weak": cost(1.0), "strong": cost(3.0, 5.0)}
    text = text_of(comparison, costs)
    assert text.startswith(
        "Deploy strong: no other model is measurably better by any of 9 metrics, and it has the "
        "best mean of 9."
    )
    assert (
        "Against “Avg, same cxt”, the best heuristic by these metrics, strong is better by cosine "
        "(+60.0 %)"
    ) in text
    assert (
        "Against weak, the best other trained model by these metrics, strong is better by cosine "
        "(+33.3 %)"
    ) in text
    assert "measurably better than strong" not in text
    assert "tie" not in text
    assert "tells apart" not in text
    assert (
        "strong 4.0 minutes, 1 epochs at 1,000 sessions a second, 1,234 parameters; weak 1.0 "
        in text
    )
    assert "p = 0.001 at most" in text
    assert "0 are within noise" in text


def test_a_heuristic_that_wins_is_said_to():
    comparison = planted({**BASE, "trained": alike(0.22, 10.8)})
    text = text_of(comparison, {"trained": cost(9.0)})
    assert text.startswith(
        "Deploy “Avg, same cxt”, which needs no training: no trained model is measurably better by "
        "any of 9 metrics."
    )
    assert (
        "Against trained, the best trained model by these metrics, “Avg, same cxt” is better"
    ) in text
    assert (
        "“Avg, same cxt” costs a look-up in the user's past sessions: nothing is trained." in text
    )
    assert "Training one seed took, on A chip, 2 cores: trained 9.0 minutes" in text


def test_within_noise_what_costs_nothing_is_recommended():
    comparison = planted(
        {**BASE, "trained": alike(0.3, 10.0)}, unsure=unsure("trained", "avg_same")
    )
    text = text_of(comparison)
    assert text.startswith("Deploy “Avg, same cxt”, which needs no training")
    assert "not told apart by cosine (−16.7 %)" in text
    assert (
        "It is a tie: trained loses as few metrics as “Avg, same cxt”, 0 of 9. “Avg, same cxt” "
        "goes first because what costs nothing, and shows no sign of being worse, goes first."
    ) in text
    assert (
        "No metric of the task tells apart “Avg, same cxt” from trained for the prediction itself "
        "(cosine); “Avg, same cxt” from trained for session ranking; “Avg, same cxt” from trained "
        "for track ranking."
    ) in text


def test_a_heuristic_that_seems_worse_is_not_preferred_for_costing_nothing():
    """Many tests make a correction so strict that large differences are within noise."""
    noise = unsure("trained", "avg_same")
    comparison = planted({**BASE, "trained": alike(0.3, 10.0)}, unsure=noise, signs=noise)
    text = text_of(comparison)
    assert text.startswith("Deploy trained: no other model is measurably better by any of 9")
    one = frozenset({("trained", "avg_same", "cosine")})
    comparison = planted({**BASE, "trained": alike(0.3, 10.0)}, unsure=noise, signs=one)
    assert decide(comparison, {}).model.name == "trained"


def test_of_trained_models_within_noise_the_best_mean_and_then_the_cheaper_wins():
    means = {**BASE, "a": alike(0.5, 9.0), "b": alike(0.5, 9.0), "c": alike(0.49, 9.5)}
    comparison = planted(means, unsure=unsure("a", "b", "c"))
    verdict = decide(comparison, {"a": cost(3.0), "b": cost(2.0), "c": cost(1.0)})
    assert [standing.model.name for standing in verdict.standings][:3] == ["b", "a", "c"]


def test_where_no_model_is_the_best_each_task_has_its_own():
    good_at_tracks = {name: 0.9 for name in METRIC_NAMES if name.startswith(("ap", "recall"))}
    comparison = planted(
        {
            **BASE,
            "last_any": alike(0.2, 5.0, session_rr_20=0.8, session_rr_50=0.8),
            "tracks": alike(0.4, 9.0, **good_at_tracks),
        }
    )
    text = text_of(comparison)
    assert text.startswith(
        "No model is the best for everything. Deploy tracks for the prediction itself (cosine) and "
        "track ranking; “Last, any cxt” for session ranking, which needs no training."
    )
    assert "It loses the fewest metrics, 4 of 9: by these another model" in text
    assert (
        "“Last, any cxt” is measurably better than tracks by MRR at K = 20 (0.8000 against "
        "0.4000), rank at K = 20 (5.0000 against 9.0000)"
    ) in text


def test_a_task_keeps_the_model_that_is_recommended_for_all_where_it_is_not_beaten():
    comparison = planted(
        {**BASE, "a": alike(0.5, 9.0, cosine=0.4), "b": alike(0.3, 10.0, cosine=0.41)},
        unsure=unsure("a", "b", metrics=("cosine",)),
    )
    verdict = decide(comparison, {})
    assert verdict.model.name == "a"
    assert {standing.model.name for standing in verdict.tasks.values()} == {"a"}
    assert "the best mean of 8" in headline(verdict)


def test_each_metric_is_held_against_the_best_of_that_metric():
    """One heuristic stands first over all, another has the best cosine."""
    comparison = planted(
        {
            "last_any": alike(0.30, 10.0, cosine=0.20),
            "avg_same": alike(0.25, 10.5, cosine=0.40),
            "strong": alike(0.60, 9.0, cosine=0.44),
            "a": alike(0.50, 9.5, cosine=0.42),
            "b": alike(0.40, 9.4, cosine=0.43),
            "oracle_full": alike(1.0, 1.0),
        }
    )
    verdict = decide(comparison, {})
    heuristic, trained = verdict.rivals
    by_name = {metric.name: metric for metric in comparison.metrics}
    assert heuristic.by_metric[by_name["cosine"]].name == "avg_same"
    assert heuristic.by_metric[by_name["ap_100"]].name == "last_any"
    assert trained.by_metric[by_name["cosine"]].name == "b"
    assert trained.by_metric[by_name["ap_100"]].name == "a"
    assert trained.by_metric[by_name["session_rank_20"]].name == "b"  # lower is better
    text = text_of(comparison)
    assert (
        "Against the best heuristic of each metric, strong is better by cosine (+10.0 % against "
        "“Avg, same cxt”), MRR at K = 50 (+100.0 % against “Last, any cxt”)"
    ) in text
    assert "cosine (+2.3 % against b), MRR at K = 50 (+20.0 % against a)" in text
    assert [model.name for model in verdict.alternatives] == ["avg_same", "last_any", "b", "a"]


@pytest.mark.parametrize(
    ("other", "minutes", "why"),
    [
        (alike(0.49, 9.5), 1.0, "it has the best mean of more metrics"),
        (alike(0.5, 9.0), 4.0, "it trained for a shorter time"),
        (alike(0.5, 9.0), 3.0, "it comes first in Table 2"),
    ],
)
def test_of_a_tie_it_is_said_what_decided(other, minutes, why):
    means = {**BASE, "a": alike(0.5, 9.0), "b": other, "c": alike(0.45, 9.6)}
    comparison = planted(means, unsure=unsure("a", "b"))
    verdict = decide(comparison, {"a": cost(3.0), "b": cost(minutes), "c": cost(1.0)})
    assert verdict.model.name == "a"
    assert verdict.tie is not None
    assert [model.name for model in verdict.tie.others] == ["b"]
    assert verdict.tie.decided_by == why


def test_a_tie_may_be_decided_by_places():
    """Each is first by four metrics; by the others one is second, the other third."""
    of_tracks = [name for name in METRIC_NAMES if name.startswith(("ap", "recall"))]
    means = {
        **BASE,
        "a": alike(0.5, 9.0),
        "b": alike(0.22, 10.9, **dict.fromkeys(of_tracks, 0.6)),
    }
    comparison = planted(
        means,
        unsure=unsure("a", "b", "avg_same"),
        signs=frozenset({("b", "avg_same", "ap_25")}),
        scored={"cosine": 0},
    )
    verdict = decide(comparison, {"a": cost(3.0), "b": cost(1.0)})
    assert verdict.model.name == "a"
    assert verdict.tie is not None
    assert [model.name for model in verdict.tie.others] == ["b", "avg_same"]
    assert verdict.tie.decided_by == "its place by the means is better on average"


def test_within_noise_is_said_by_task_only_where_no_metric_tells():
    comparison = planted(
        {**BASE, "a": alike(0.5, 9.0), "b": alike(0.4, 9.5)},
        unsure=unsure("a", "b", metrics=("cosine", "ap_25")),
    )
    verdict = decide(comparison, {})
    assert [model.name for model in verdict.not_told_apart("")] == ["b"]
    assert verdict.not_told_apart("Track ranking") == []
    text = text_of(comparison)
    assert "No metric of the task tells apart a from b for the prediction itself (cosine)." in text


def test_the_smallest_p_value_is_that_of_resamples_and_correction():
    """999 resamples of users, 9 metrics, 4 other models, of them an oracle."""
    comparison = planted({**BASE, "a": alike(0.5, 9.0), "b": alike(0.4, 9.5)})
    assert comparison.count_tests("a") == 36
    assert comparison.least_p("a") == pytest.approx(36 / 1_000)
    text = text_of(comparison)
    assert "after Holm's correction for 36 tests (9 of them against oracles)" in text
    assert "Of the 27 against models that can be deployed, 27 are that sure" in text
    assert "(0.036 is the smallest that 999 resamples allow after the correction)" in text
    without = planted({**BASE, "a": alike(0.5, 9.0)}, bootstrap=False)
    assert without.least_p("a") is None
    assert "the smallest" not in text_of(without)
    five = {name: alike(0.4, 9.5) for name in "bcde"}
    many_tests = planted({**BASE, "a": alike(0.5, 9.0), **five})
    assert many_tests.least_p("a") == pytest.approx(63 / 1_000)
    (said,) = [s for s in cautions(decide(many_tests, {}), {}) if "resamples" in s]
    assert "too few for 63 tests" in said


def test_a_caution_where_a_table_has_more_seeds():
    comparison = planted({**BASE, "a": alike(0.5, 9.0), "b": alike(0.4, 9.5)})
    verdict = decide(comparison, {})
    text = " ".join(cautions(verdict, {}, seeds_in_tables={"a": 3, "b": 1, "c": 9}))
    assert "redone below, have more seeds of a than this answer." in text
    assert "redone below" not in " ".join(cautions(verdict, {}, seeds_in_tables={"a": 1}))


def test_a_metric_that_is_lost_is_named():
    comparison = planted({**BASE, "a": alike(0.5, 9.0), "b": alike(0.3, 8.0, session_rank_20=9.5)})
    text = text_of(comparison)
    assert text.startswith("Deploy a: no other model is measurably better by 8 of 9 metrics")
    assert "b is measurably better than a by rank at K = 50 (8.0000 against 9.0000)." in text


def test_without_trained_models_none_is_recommended_over_heuristics():
    text = text_of(planted(BASE))
    assert text.startswith(
        "No trained model has been evaluated. Of the heuristics, “Avg, same cxt”"
    )


def untested(*metrics):
    """As with fewer users than the clustered test takes, who are all that these metrics score."""
    content = statistics({**BASE, "a": alike(0.5, 9.0)})
    content["users"] = 4
    for others in content["tests"].values():
        for tests in others.values():
            for metric in metrics:
                tests[metric]["users"] = 4
                tests[metric]["clustered"] |= {"p_value": None, "p_holm": None}
    return comparison_of(content)


def test_what_could_not_be_tested_is_not_recommended():
    text = text_of(untested(*METRIC_NAMES))
    assert text.startswith(
        "No model can be recommended: a test that draws whole users needs 5 of them, and 4 users "
        "had a score. By the means alone, which may be chance, a is first in 9 of 9 metrics."
    )
    assert "Nothing here was tested: a test that draws whole users needs 5" in text
    assert "noise" not in text
    some = text_of(untested("ap_100", "recall10_100"))
    assert some.startswith("Deploy a: ")
    assert "Of the 18 against models that can be deployed, 14 are that sure" in some
    assert "; 0 are within noise, and 4 could not be tested, as fewer than 5 users had" in some


def test_what_limits_the_answer_is_said():
    scored = {"ap_100": 120, "recall10_100": 0}
    comparison = planted({**BASE, "a": alike(0.5, 9.0)}, bootstrap=False, scored=scored)
    costs = {"a": cost(1.0, load=3.0)}
    verdict = decide(comparison, costs)
    said = cautions(verdict, costs, is_synthetic=True, split="validation", not_evaluated=["late"])
    assert "validation split" not in " ".join(cautions(verdict, costs))
    text = " ".join(said).replace("\xa0", " ")
    for part in (
        "The log is synthetic: do not choose a model for your own users by it",
        "sessions of the validation split, by which the epoch of every run was chosen",
        "Of a this evaluation has one seed",
        "Only 50 users are scored.",
        "takes sessions for independent",
        "mAP at K = 100 (12%)",
        "up to 3.0 processes for each core",
        "not in this evaluation: late.",
    ):
        assert part in text
    assert [metric.name for metric in comparison.metrics] == [
        metric.name for metric in METRICS if metric.name != "recall10_100"
    ]
    assert cautions(decide(many(planted({**BASE})), {}), {}) == []


def test_of_many_runs_that_were_not_evaluated_some_are_named():
    runs = [f"run{number}" for number in range(9)]
    for number, named in ((7, "run5 and run6."), (8, "run5 and 2 more."), (9, "run5 and 3 more.")):
        (said,) = cautions(decide(many(planted({**BASE})), {}), {}, not_evaluated=runs[:number])
        assert f", {named} " in said


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), ["cosine", "session_rr_50", "ap_100"]),
        (("session_rr_50", "ap_100"), ["cosine", "session_rr_20", "ap_25"]),
        (("ap_100", "ap_25", "recall10_25", "recall10_100"), ["cosine", "session_rr_50"]),
    ],
)
def test_sentences_take_the_most_telling_metric_that_is_scored(missing, expected):
    comparison = planted(BASE, scored=dict.fromkeys(missing, 0))
    assert [metric.name for metric in headline_metrics(comparison)] == expected
