"""The summary against plain means and SciPy; the table to the letter."""

import json

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from cosernn_tf.evaluation import report
from cosernn_tf.evaluation.clusters import Bootstrap
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.scores import score_schema
from cosernn_tf.evaluation.summary import (
    Kind,
    Summary,
    SummaryBuilder,
    summarize,
)

from .tables import TABLE_2_SCHEMA

MODELS = ("oracle_full", "jodie", "cosernn", "popularity", "last_any")
NAMES = [metric.name for metric in METRICS]


def make_scores(seed: int = 0, *, users: int = 40, prefix: str = "u", models=MODELS) -> pa.Table:
    """Scores of five sessions a user; higher values for models that are listed earlier."""
    rng = np.random.default_rng(seed)
    sessions = 5 * users
    keys = {
        "user_id": [f"{prefix}{session // 5:03}" for session in range(sessions)],
        "session_start": [100 * session for session in range(sessions)],
        "day_of_week": [0] * sessions,
        "hour": [3] * sessions,
        "device": ["mobile"] * sessions,
    }
    common = rng.random((len(NAMES), sessions))
    absent = rng.random(common.shape) < np.linspace(0, 0.5, len(NAMES))[:, None]
    tables = []
    for place, model in enumerate(models):
        values = common - 0.02 * place + 0.05 * rng.random(common.shape)
        columns = {name: pa.array(values[row], mask=absent[row]) for row, name in enumerate(NAMES)}
        tables.append(pa.table({"model": [model] * sessions, **keys, **columns}, TABLE_2_SCHEMA))
    return pa.concat_tables(tables)


def shuffled(scores: pa.Table) -> pa.Table:
    return scores.take(np.random.default_rng(0).permutation(scores.num_rows))


def values(scores: pa.Table, model: str, metric: str) -> np.ndarray:
    return scores.filter(pa.compute.equal(scores["model"], model))[metric].to_numpy()


def assert_same(one: Summary, other: Summary) -> None:
    assert (one.users, one.sessions, one.scored) == (other.users, other.sessions, other.scored)
    assert list(one.tests) == list(other.tests)
    for model, same in zip(one.models, other.models, strict=True):
        assert (model.name, model.title, model.kind) == (same.name, same.title, same.kind)
        assert dict(model.means) == pytest.approx(dict(same.means), abs=1e-12)
        assert model.intervals == same.intervals or one.bootstrap is None
    for pair, tests in one.tests.items():
        for metric, test in tests.items():
            of_other = other.tests[pair][metric]
            assert test.paired.p_value == pytest.approx(of_other.paired.p_value, rel=1e-6)
            assert (test.clustered is None) == (of_other.clustered is None)
            if test.clustered is not None and of_other.clustered is not None:
                # To the bit, as resamples are drawn of users in the order of their ids.
                assert test.clustered.p_value == of_other.clustered.p_value
                assert test.clustered.interval == of_other.clustered.interval


# Summary -----------------------------------------------------------------------------------------


def test_means_counts_and_tests():
    scores = make_scores()
    summary = summarize(scores, references=["cosernn", "jodie"])
    assert (summary.users, summary.sessions, summary.without_target) == (40, 200, None)
    for metric in NAMES:
        expected = values(scores, "cosernn", metric)
        assert summary.scored[metric] == np.isfinite(expected).sum()
        assert summary.share(metric) == summary.scored[metric] / 200
        users = np.repeat(np.arange(40), 5)[np.isfinite(expected)]
        assert summary.scored_users[metric] == len(set(users))
        assert summary.users_share(metric) == len(set(users)) / 40
        for model in summary.models:
            own = values(scores, model.name, metric)
            assert model.means[metric] == pytest.approx(np.nanmean(own), abs=1e-12)
            for reference in ("cosernn", "jodie"):
                if model.name != reference:
                    test = summary.tests[reference, model.name][metric]
                    of_scipy = stats.ttest_rel(
                        values(scores, reference, metric), own, nan_policy="omit"
                    )
                    assert test.paired.p_value == pytest.approx(of_scipy.pvalue, rel=1e-7)
                    assert test.paired.statistic == pytest.approx(of_scipy.statistic, rel=1e-7)
                    assert test.paired.sessions == summary.scored[metric]
                    assert test.users == summary.scored_users[metric]
    assert len(summary.tests) == 8


def test_order_is_that_of_table_2_and_runs_come_as_given():
    summary = summarize(make_scores(), references=["cosernn"])
    assert [(model.name, model.kind) for model in summary.models] == [
        ("last_any", Kind.HEURISTIC),
        ("popularity", Kind.HEURISTIC),
        ("jodie", Kind.RUN),
        ("cosernn", Kind.RUN),
        ("oracle_full", Kind.ORACLE),
    ]
    assert [model.title for model in summary.models][:2] == ["Last, any cxt", "Popularity"]


@pytest.mark.parametrize("bootstrap", [None, Bootstrap(199)])
def test_shards_add_up_and_the_order_of_rows_does_not_matter(bootstrap):
    shards = [make_scores(seed, prefix=f"{seed}-") for seed in range(3)]
    options = {"references": ["cosernn", "jodie"], "bootstrap": bootstrap}
    whole = summarize(pa.concat_tables(shards), **options)
    builder = SummaryBuilder(MODELS, **options)
    for shard in [shards[2], shards[0], shards[1], shards[0].slice(0, 0)]:
        builder.add(shuffled(shard), without_target=7)
    assert_same(builder.build(), whole)
    assert builder.build().without_target == 28
    # Of the rows' order, only the order in which runs appear is kept.
    by_session = pa.concat_tables(shards).sort_by("session_start")
    assert_same(summarize(by_session, **options), whole)


def test_scores_that_do_not_pair():
    scores = make_scores()
    with pytest.raises(ValueError, match="sessions of the other models"):
        summarize(scores.slice(0, scores.num_rows - 1))
    with pytest.raises(ValueError, match="more than one score"):
        summarize(pa.concat_tables([scores, scores]))
    with pytest.raises(ValueError, match="expected"):
        SummaryBuilder([*MODELS, "rrn"]).add(scores)
    with pytest.raises(ValueError, match=r"references \['rrn'\] are not"):
        summarize(scores, references=["rrn"])
    rows = scores.to_pylist()
    scored = next(row for row in rows if row["ap_25"] is not None)
    scored["ap_25"] = None
    with pytest.raises(ValueError, match="ap_25"):
        summarize(pa.Table.from_pylist(rows, score_schema()))
    # As many sessions, but others.
    absent = next(
        row
        for row in rows
        if row["ap_25"] is None and row is not scored and row["model"] == scored["model"]
    )
    absent["ap_25"] = 0.5
    with pytest.raises(ValueError, match="ap_25"):
        summarize(pa.Table.from_pylist(rows, score_schema()))


def test_best_is_by_the_direction_of_the_metric_oracles_aside():
    summary = summarize(make_scores())
    for metric in METRICS:
        # Means fall along MODELS, which start with the oracle.
        expected = "jodie" if metric.higher_is_better else "last_any"
        assert summary.best(metric) == {expected}


# Report ------------------------------------------------------------------------------------------

TABLE = """\
                                   Session ranking                       Track ranking
                              K = 20             K = 50             K = 25           K = 100
Model            Cosine      MRR      Rank      MRR      Rank      mAP   Rec@10      mAP   Rec@10
--------------------------------------------------------------------------------------------------
Last, any cxt    0.5750*  0.1250*   8.1250*  0.0000*  16.1250*  0.3750*  0.5000*       -        -
Avg, any cxt    >0.7000  >0.2500   >8.0000  >0.1250  >16.0000  >0.5000  >0.6250        -        -
Popularity       0.5750+  0.1250+   8.1250+  0.0000+  16.1250+  0.3750+  0.5000+       -        -
--------------------------------------------------------------------------------------------------
cosernn         >0.7000  >0.2500   >8.0000  >0.1250  >16.0000  >0.5000  >0.6250        -        -
--------------------------------------------------------------------------------------------------
Oracle full      0.9500   0.5000    7.7500   0.3750   15.7500   0.7500   0.8750        -        -
--------------------------------------------------------------------------------------------------
> best of its column, oracles aside.
* p < 0.001, + p < 0.05: differs from cosernn (paired two-tailed t-test over sessions).
Cosine: 4 sessions of 2 users, those with a played track that has an embedding.
Not scored: the split's 1,234 sessions that have none.
Session ranking, K = 20: 4 sessions (100.0 %) of 2 users; K = 50: 4 sessions (100.0 %) of 2 users.
Track ranking, K = 25: 4 sessions (100.0 %) of 2 users; K = 100: 0 sessions (0.0 %) of 0 users.
"""


def planted_scores() -> pa.Table:
    """Four sessions a model, each metric constant but for a little that cancels out."""
    base = [0.7, 0.25, 8.0, 0.125, 16.0, 0.5, 0.625, 0.25, 0.375]
    tables = []
    for model, shift, noise in (
        ("last_any", -0.125, 1e-6),
        ("popularity", -0.125, 0.05),
        ("avg_any", 0.0, 0.1875),
        ("cosernn", 0.0, 0.0),
        ("oracle_full", 0.25, 0.0),
    ):
        columns = {}
        for name, value in zip(NAMES, base, strict=True):
            sign = -1 if "rank" in name else 1
            scores = value + sign * shift + noise * np.array([1.0, -1.0, 1.0, -1.0])
            columns[name] = pa.array(scores, mask=np.array(["100" in name] * 4))
        keys = {
            "model": [model] * 4,
            "user_id": ["a", "a", "b", "b"],
            "session_start": [1, 2, 1, 2],
            "day_of_week": [0] * 4,
            "hour": [0] * 4,
            "device": ["mobile"] * 4,
        }
        tables.append(pa.table({**keys, **columns}, TABLE_2_SCHEMA))
    return pa.concat_tables(tables)


@pytest.fixture
def planted() -> Summary:
    scores = planted_scores()
    builder = SummaryBuilder(scores["model"].unique().to_pylist(), references=["cosernn"])
    builder.add(scores, without_target=1234)
    return builder.build()


def test_the_printed_table(planted):
    text = report.format_table(planted)
    assert text == TABLE


def test_the_table_without_a_reference_or_with_another(planted):
    scores = planted_scores()
    plain = report.format_table(summarize(scores))
    assert plain.replace(">", "").count("*") == plain.count("p <") == 0
    both = summarize(scores, references=["cosernn", "avg_any"])
    assert report.format_table(both) == report.format_table(both, reference="cosernn")
    other = report.format_table(both, reference="avg_any")
    assert "differs from Avg, any cxt" in other
    with pytest.raises(ValueError, match="rrn"):
        report.format_table(both, reference="rrn")


@pytest.mark.parametrize("bootstrap", [None, Bootstrap(199)])
def test_the_table_of_no_sessions(bootstrap):
    builder = SummaryBuilder(MODELS, references=["cosernn"], bootstrap=bootstrap)
    builder.add(score_schema().empty_table(), without_target=3)
    summary = builder.build()
    table = report.format_table(summary)
    assert table.splitlines()[4].split() == ["Last,", "any", "cxt", *["-"] * len(NAMES)]
    assert "0 sessions of 0 users" in table
    content = report.metrics_json(summary)
    assert content["models"]["cosernn"]["metrics"]["cosine"] is None
    nothing = {"sessions": 0, "share": None, "users": 0, "users_share": None}
    assert content["scored"]["cosine"] == nothing
    assert content["models"]["cosernn"]["intervals"]["cosine"] is None
    json.dumps(content, allow_nan=False)


def test_json_has_every_number_and_nothing_infinite(planted):
    content = report.metrics_json(planted)
    text = json.dumps(content, allow_nan=False, sort_keys=True)
    assert text == json.dumps(report.metrics_json(planted), allow_nan=False, sort_keys=True)
    assert (content["users"], content["sessions"]) == (2, 4)
    assert content["sessions_without_target"] == 1234
    assert list(content["models"]) == [model.name for model in planted.models]
    cosernn = content["models"]["cosernn"]
    assert (cosernn["title"], cosernn["kind"]) == ("cosernn", "run")
    assert cosernn["metrics"]["session_rank_20"] == 8
    assert cosernn["metrics"]["ap_100"] is None
    tests = content["tests"]["cosernn"]
    assert set(tests) == {"last_any", "popularity", "avg_any", "oracle_full"}
    assert tests["avg_any"]["cosine"]["t_test"]["p_value"] == 1
    # A constant difference has an infinite t, which JSON does not know.
    oracle = tests["oracle_full"]["cosine"]
    assert (oracle["sessions"], oracle["users"]) == (4, 2)
    assert oracle["mean_difference"] == -0.25
    assert oracle["relative_percent"] == pytest.approx(-100 * 0.25 / 0.95)
    assert (oracle["cohens_d"], oracle["interval"], oracle["clustered"]) == (None, None, None)
    # Of 28 tests: 7 metrics are scored.
    assert oracle["t_test"] == {"t": None, "p_value": 0.0, "p_holm": 0.0}
    # Four differences of 1/8 ± 1/20: t = (1/8) / (1/20 √(4/3) / √4), with 3 degrees of freedom.
    popularity = tests["popularity"]["cosine"]
    assert popularity["t_test"]["t"] == pytest.approx(2.5 * 3**0.5)
    assert popularity["t_test"]["p_value"] == pytest.approx(0.0227, abs=1e-4)
    # Before them come those of Oracle full and "Last, any cxt".
    p_holm = (28 - 14) * popularity["t_test"]["p_value"]
    assert popularity["t_test"]["p_holm"] == pytest.approx(p_holm)
    assert popularity["cohens_d"] == pytest.approx(2.5 * 3**0.5 / 2)
    assert popularity["relative_percent"] == pytest.approx(100 * 0.125 / 0.575)
    assert content["bootstrap"] is None
