"""The answer, where it is known: planted means and p-values."""

from pathlib import Path

import pytest

from cosernn_tf.evaluation.metrics import METRICS
from experiments.reporting.costs import Cost, Run
from experiments.reporting.verdict import decide, headline_metrics
from experiments.reporting.words import cautions, headline, reasons
from tests.experiments.reporting.planted import METRIC_NAMES, alike, planted

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
        "Against “Avg, same cxt”, the best heuristic, strong is better by cosine (+60.0 %)" in text
    )
    assert (
        "Against weak, the best other trained model, strong is better by cosine (+33.3 %)" in text
    )
    assert "is better than it" not in text
    assert "took 4.0 minutes (mean of 2 seeds)" in text
    assert "1,234 parameters" in text
    assert "weak took 1.0 minutes" in text
    assert "p = 0.001 at most; 0 are within noise" in text


def test_a_heuristic_that_wins_is_said_to():
    comparison = planted({**BASE, "trained": alike(0.22, 10.8)})
    text = text_of(comparison, {"trained": cost(9.0)})
    assert text.startswith(
        "Deploy “Avg, same cxt”, which needs no training: no trained model is measurably better by "
        "any of 9 metrics."
    )
    assert "Against trained, the best trained model, “Avg, same cxt” is better" in text
    assert (
        "“Avg, same cxt” costs a look-up in the user's past sessions: nothing is trained." in text
    )
    assert "Training trained took 9.0 minutes" in text


def test_within_noise_what_costs_nothing_is_recommended():
    comparison = planted(
        {**BASE, "trained": alike(0.3, 10.0)}, unsure=unsure("trained", "avg_same")
    )
    text = text_of(comparison)
    assert text.startswith("Deploy “Avg, same cxt”, which needs no training")
    assert "not told apart by cosine (−16.7 %)" in text


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
    assert (
        "“Last, any cxt” is better than it by MRR at K = 20 (0.8000 against 0.4000), rank at "
        "K = 20 (5.0000 against 9.0000)"
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


def test_a_metric_that_is_lost_is_named():
    comparison = planted({**BASE, "a": alike(0.5, 9.0), "b": alike(0.3, 8.0, session_rank_20=9.5)})
    text = text_of(comparison)
    assert text.startswith("Deploy a: no other model is measurably better by 8 of 9 metrics")
    assert "b is better than it by rank at K = 50 (8.0000 against 9.0000)." in text


def test_without_trained_models_none_is_recommended_over_heuristics():
    text = text_of(planted(BASE))
    assert text.startswith(
        "No trained model has been evaluated. Of the heuristics, “Avg, same cxt”"
    )


def test_what_limits_the_answer_is_said():
    scored = {"ap_100": 120, "recall10_100": 0}
    comparison = planted({**BASE, "a": alike(0.5, 9.0)}, bootstrap=False, scored=scored)
    costs = {"a": cost(1.0, load=3.0)}
    verdict = decide(comparison, costs)
    said = cautions(verdict, costs, is_synthetic=True, not_evaluated=["late"])
    text = " ".join(said).replace("\xa0", " ")
    for part in (
        "embedded synthetic one",
        "Of a there is one seed",
        "takes sessions for independent",
        "mAP at K = 100 (12%)",
        "up to 3.0 wanted each core",
        "not in this evaluation: late.",
    ):
        assert part in text
    assert [metric.name for metric in comparison.metrics] == [
        metric.name for metric in METRICS if metric.name != "recall10_100"
    ]
    quiet = cautions(decide(planted({**BASE}), {}), {}, is_synthetic=False, not_evaluated=[])
    assert quiet == []


def test_of_many_runs_that_were_not_evaluated_some_are_named():
    runs = [f"run{number}" for number in range(9)]
    for number, named in ((7, "run5 and run6."), (8, "run5 and 2 more."), (9, "run5 and 3 more.")):
        (said,) = cautions(
            decide(planted({**BASE}), {}), {}, is_synthetic=False, not_evaluated=runs[:number]
        )
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
