"""Means by group against plain loops, and the calibration of attention on planted data."""

from statistics import fmean

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats

from cosernn_tf.evaluation import breakdowns
from cosernn_tf.evaluation.aligned import align
from cosernn_tf.evaluation.breakdowns import (
    ATTENTION_BINS,
    GROUP_MEANS,
    WORST_GROUPS,
    break_down,
    calibrate_attention,
    worst_groups,
)
from cosernn_tf.evaluation.clusters import Bootstrap, clustered_means
from cosernn_tf.evaluation.groups import groupings
from cosernn_tf.evaluation.user_sums import UserSums

END = 1_554_076_800
MODELS = ("avg_any", "plain", "attentive")
METRICS = ("cosine", "session_rank_20")
BOOTSTRAP = Bootstrap(200)


@pytest.fixture(scope="module")
def scores() -> pa.Table:
    """Of 60 users with up to 30 sessions, rows in random order; not all have a rank."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 31, 60)
    user = np.repeat(np.arange(60), lengths)
    count = len(user)
    position = np.arange(count) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    keys = {
        "user_id": [f"u{number}" for number in user],
        "session_start": END + 5 * 86_400 + 3_000 * np.arange(count),
        "hour": rng.integers(0, 24, count),
        "device": rng.choice(["mobile", "web", "unknown"], count, p=[0.7, 0.2, 0.1]),
        "user_age": pa.array(rng.integers(10, 70, 60)[user], mask=rng.random(60)[user] < 0.2),
        "train_sessions": rng.poisson(20, 60)[user] * (rng.random(60) < 0.8)[user],
        "earlier_sessions": position,
    }
    has_rank = rng.random(count) < 0.6
    attention = rng.random(count)
    level = rng.random(60)[user]
    long_term = 0.2 + 0.3 * level + 0.1 * rng.normal(size=count)
    tables = []
    for number, model in enumerate(MODELS):
        gain = 0.2 * attention if model == "attentive" else 0.05 * number
        values = {
            "cosine": long_term + gain + 0.01 * number * rng.normal(size=count),
            "session_rank_20": pa.array(rng.integers(1, 21, count) * 1.0, mask=~has_rank),
            "attention_offset": pa.array(attention, mask=np.full(count, model != "attentive")),
        }
        tables.append(pa.table({"model": [model] * count, **keys, **values}))
    rows = pa.concat_tables(tables)
    return rows.take(rng.permutation(rows.num_rows))


# Side by side ------------------------------------------------------------------------------------


def test_scores_side_by_side(scores):
    aligned = align(scores, METRICS, models=("plain", "avg_any"))
    assert aligned.models == ("plain", "avg_any")
    rows = {(r["model"], r["user_id"], r["session_start"]): r for r in scores.to_pylist()}
    sessions = aligned.sessions.to_pylist()
    assert len(sessions) == scores.num_rows / 3
    for place, session in enumerate(sessions):
        for number, model in enumerate(aligned.models):
            row = rows[model, session["user_id"], session["session_start"]]
            for metric in METRICS:
                value = aligned.values[metric][number, place]
                assert value == row[metric] if row[metric] is not None else np.isnan(value)
    starts = [(user, s["session_start"]) for user, s in zip(aligned.user, sessions, strict=True)]
    assert starts == sorted(starts)
    assert align(scores, METRICS).models == tuple(scores["model"].unique().to_pylist())


def test_models_of_other_sessions_are_refused(scores):
    first = pc.field("session_start") == pc.min(scores["session_start"])
    of_plain = pc.field("model") == "plain"
    for other in (
        scores.filter(~(first & of_plain)),
        pa.concat_tables([scores, scores.filter(first & of_plain)]),
        pa.concat_tables([scores, scores.filter(first)]),
    ):
        with pytest.raises(ValueError, match="not one a session of"):
            align(other, METRICS)
    with pytest.raises(ValueError, match="'nobody' has 0 rows"):
        align(scores, METRICS, models=("plain", "nobody"))


# By group ----------------------------------------------------------------------------------------


def test_means_equal_the_loop(scores):
    found = break_down(scores, METRICS, training_end=END, bootstrap=BOOTSTRAP)
    assert found.schema.equals(GROUP_MEANS)
    aligned = align(scores, METRICS)
    expected = []
    for way in groupings(aligned.sessions, training_end=END):
        sessions = aligned.sessions.to_pylist()
        group_of = {
            (s["user_id"], s["session_start"]): way.groups[row]
            for s, row in zip(sessions, way.of_session, strict=True)
        }
        for group in way.groups:
            for model in aligned.models:
                for metric in METRICS:
                    rows = [
                        row
                        for row in scores.to_pylist()
                        if row["model"] == model
                        and row[metric] is not None
                        and group_of[row["user_id"], row["session_start"]] == group
                    ]
                    mean = fmean(row[metric] for row in rows) if rows else None
                    users = len({row["user_id"] for row in rows})
                    expected.append((way.dimension, group, model, metric, len(rows), users, mean))
    actual = [tuple(row.values())[:7] for row in found.to_pylist()]
    assert [row[:6] for row in actual] == [row[:6] for row in expected]
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours[6] == (None if theirs[6] is None else pytest.approx(theirs[6])), ours
    assert len({row[0] for row in actual}) == 6
    assert {row[1] for row in actual if row[0] == "device"} == {"mobile", "web", "unknown"}


def test_intervals_are_of_users_who_have_such_a_session(scores):
    found = break_down(
        scores, ["cosine"], training_end=END, models=["plain"], bootstrap=BOOTSTRAP
    ).to_pylist()
    users = scores["user_id"].unique().to_pylist()
    plain = [row for row in scores.to_pylist() if row["model"] == "plain"]
    for device in ("mobile", "web"):
        sums: dict[str, list[float]] = {}
        for row in sorted(plain, key=lambda row: users.index(row["user_id"])):
            if row["device"] == device:
                sums.setdefault(row["user_id"], []).append(row["cosine"])
        of_users = UserSums(
            np.array([len(values) for values in sums.values()]),
            np.array([[sum(values) for values in sums.values()]]),
        )
        (means,) = clustered_means([of_users], [(0, None)], BOOTSTRAP)
        (row,) = (row for row in found if row["group"] == device)
        assert row["users"] == means.users
        # Users are drawn in the order of their codes, which is that of their first rows.
        assert (row["low"], row["high"]) == pytest.approx((means.low[0], means.high[0]))
        assert row["low"] < row["mean"] < row["high"]
    few = [row for row in found if row["users"] < 5]
    assert few
    assert all(row["low"] is None for row in few)


def test_the_worst_group(scores):
    groups = break_down(scores, METRICS, training_end=END, bootstrap=BOOTSTRAP)
    worst = worst_groups(groups, min_users=10)
    assert worst.schema.equals(WORST_GROUPS)
    for row in worst.to_pylist():
        way = [
            other
            for other in groups.to_pylist()
            if all(other[key] == row[key] for key in ("dimension", "model", "metric"))
            and other["mean"] is not None
        ]
        large = [other["mean"] for other in way if other["users"] >= 10]
        assert len(large) > 1
        is_rank = row["metric"] == "session_rank_20"
        assert row["mean"] == (max if is_rank else min)(large)
        values = [
            other[row["metric"]]
            for other in scores.to_pylist()
            if other["model"] == row["model"] and other[row["metric"]] is not None
        ]
        assert row["overall"] == pytest.approx(fmean(values))
        assert row["gap"] == pytest.approx(abs(row["overall"] - row["mean"]))
    # A day has fewer users.
    assert "days_since_training" not in worst["dimension"].to_pylist()
    assert len(worst) == 5 * len(MODELS) * len(METRICS)
    assert len(worst_groups(groups, min_users=1_000)) == 0


def test_no_scores(scores):
    empty = scores.slice(0, 0)
    assert break_down(empty, METRICS, training_end=END).equals(GROUP_MEANS.empty_table())
    assert worst_groups(GROUP_MEANS.empty_table()).equals(WORST_GROUPS.empty_table())


# Attention ---------------------------------------------------------------------------------------


def test_the_calibration_of_attention_equals_the_loop(scores):
    (found,) = calibrate_attention(scores, bins=4, bootstrap=BOOTSTRAP)
    assert found.model == "attentive"
    assert found.bins.schema.equals(ATTENTION_BINS)
    by_model = {
        model: {
            (row["user_id"], row["session_start"]): row
            for row in scores.to_pylist()
            if row["model"] == model and row["earlier_sessions"] > 0
        }
        for model in MODELS
    }
    rows = sorted(
        (row["attention_offset"], row["cosine"], by_model["avg_any"][key]["cosine"], key[0])
        for key, row in by_model["attentive"].items()
    )
    gains = [row[1] - row[2] for row in rows]
    assert found.correlation == pytest.approx(
        stats.spearmanr([row[0] for row in rows], gains).statistic
    )
    start = 0
    for place, row in enumerate(found.bins.to_pylist()):
        part = rows[start : start + row["sessions"]]
        start += row["sessions"]
        assert row["sessions"] == pytest.approx(len(rows) / 4, abs=1)
        assert row["users"] == len({of[3] for of in part})
        assert (row["least"], row["greatest"]) == (part[0][0], part[-1][0])
        assert row["attention"] == pytest.approx(fmean(of[0] for of in part))
        assert row["cosine"] == pytest.approx(fmean(of[1] for of in part))
        assert row["long_term_cosine"] == pytest.approx(fmean(of[2] for of in part))
        assert row["gain"] == pytest.approx(row["cosine"] - row["long_term_cosine"])
        # Planted: a fifth of the attention.
        assert row["gain"] == pytest.approx(0.2 * row["attention"], abs=0.01)
        assert row["gain_low"] < row["gain"] < row["gain_high"]
        assert place < 4
    assert start == len(rows)
    assert found.correlation > 0.9


def test_attention_that_never_changes(scores):
    column = scores.column_names.index("attention_offset")
    same = pc.if_else(pc.is_null(scores["attention_offset"]), None, 0.5)
    (found,) = calibrate_attention(
        scores.set_column(column, "attention_offset", same), bootstrap=BOOTSTRAP
    )
    assert np.isnan(found.correlation)
    assert len(found.bins) == 1
    assert found.bins["least"].to_pylist() == found.bins["greatest"].to_pylist() == [0.5]


def test_no_model_has_attention(scores):
    others = scores.filter(pc.field("model") != "attentive")
    assert calibrate_attention(others) == ()
    assert breakdowns.RESAMPLES >= 1_000
