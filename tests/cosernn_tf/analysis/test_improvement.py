"""Fig. 5 against means taken row by row, and what may be compared."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scipy import stats

from cosernn_tf.analysis import improvement
from cosernn_tf.analysis.evaluated import choose_models, notes_on, open_evaluation
from cosernn_tf.analysis.improvement import Improvement, improvements
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.workspace import SessionsDirectory
from tests.cosernn_tf.evaluation.tables import TABLE_2_SCHEMA
from tests.workspaces import random_table, write_sessions

from .blocks import interval
from .test_distribution import PERIOD_OF

MODELS = ("ours", "jodie", "other")


def random_scores(seed: int = 0, *, devices: tuple[str, ...] = ("mobile", "web")) -> pa.Table:
    """Of 12 users with 1 to 30 sessions, some of which a metric does not score."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 31, 12)
    user = np.repeat(np.arange(12), lengths)
    count = len(user)
    keys = {
        "user_id": [f"usér {row}" for row in user],
        "session_start": np.arange(count) * 5_000,
        "day_of_week": rng.integers(0, 7, count),
        "hour": rng.integers(0, 24, count),
        "device": rng.choice(devices, count),
    }
    scored = {metric.name: rng.random(count) < 0.8 for metric in METRICS if metric.k is not None}
    level = rng.random(12)[user]
    parts = []
    for model, boost in zip(MODELS, (0.2, 0.1, 0.0), strict=True):
        values = {}
        for metric in METRICS:
            value = 0.2 + boost + 0.3 * level + 0.1 * rng.normal(size=count)
            mask = ~scored[metric.name] if metric.name in scored else None
            values[metric.name] = pa.array(value, mask=mask)
        names = TABLE_2_SCHEMA.names
        columns = {"model": [model] * count, **keys, **values}
        parts.append(pa.table({name: columns[name] for name in names}, schema=TABLE_2_SCHEMA))
    return pa.concat_tables(parts)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "scores.parquet"


def write_in_blocks(path: Path, scores: pa.Table, *, users_at_once: int) -> None:
    """As an evaluation does: some users at a time, all models."""
    users = scores["user_id"].unique().to_pylist()
    with pq.ParquetWriter(path, scores.schema) as writer:
        for first in range(0, len(users), users_at_once):
            some = pa.array(users[first : first + users_at_once])
            writer.write_table(scores.filter(pc.is_in(scores["user_id"], some)))


def found_in(path: Path, **options: object) -> dict[tuple[str, str, str, str], Improvement]:
    chosen = {"models": ["ours", "other"], "reference": "jodie", **options}
    rows = improvements(path, **chosen)  # type: ignore[arg-type]
    return {(r.model, r.metric, r.dimension, r.context): r for r in rows}


@pytest.mark.parametrize("users_at_once", [1, 5, 12])
@pytest.mark.parametrize("batch", [7, 50, 100_000])
def test_as_means_taken_row_by_row(path, monkeypatch, users_at_once, batch):
    monkeypatch.setattr(improvement, "_ROWS_PER_BATCH", batch)
    scores = random_scores()
    write_in_blocks(path, scores, users_at_once=users_at_once)
    found = found_in(path)
    values: dict[tuple[str, str, str, str], dict[str, list]] = defaultdict(
        lambda: {"user": [], "model": [], "reference": []}
    )
    rows = scores.to_pylist()
    of_reference = {
        (row["user_id"], row["session_start"]): row for row in rows if row["model"] == "jodie"
    }
    for row in rows:
        other = of_reference[row["user_id"], row["session_start"]]
        for metric in METRICS:
            if row["model"] == "jodie" or row[metric.name] is None:
                continue
            for context in (
                ("all", "all"),
                ("period", PERIOD_OF[row["hour"]]),
                ("device", row["device"]),
            ):
                cell = values[row["model"], metric.name, *context]
                cell["user"].append(row["user_id"])
                cell["model"].append(row[metric.name])
                cell["reference"].append(other[metric.name])
    assert set(found) == set(values)
    lower = {metric.name for metric in METRICS if not metric.higher_is_better}
    for key, row in found.items():
        a, b = np.mean(values[key]["model"]), np.mean(values[key]["reference"])
        assert row.sessions == len(values[key]["user"])
        assert row.users == len(set(values[key]["user"]))
        assert (row.model_mean, row.reference_mean) == pytest.approx((a, b))
        assert row.difference == pytest.approx(a - b)
        expected = 1 - a / b if row.metric in lower else a / b - 1
        assert row.improvement == pytest.approx(expected)
        _check_intervals(row, values[key], a, b)


def _check_intervals(row: Improvement, cell: dict[str, list], a: float, b: float) -> None:
    count, users = len(cell["user"]), row.users
    if users < 2:
        assert (row.difference_low, row.improvement_low) == (None, None)
        return
    by_user: dict[str, dict[str, float]] = {
        "difference": defaultdict(float),
        "improvement": defaultdict(float),
    }
    for user, x, y in zip(cell["user"], cell["model"], cell["reference"], strict=True):
        by_user["difference"][user] += (x - y - (a - b)) / count
        by_user["improvement"][user] += (x - a / b * y) / b / count
    for name, deviations in by_user.items():
        error = np.sqrt(users / (users - 1) * sum(d**2 for d in deviations.values()))
        margin = stats.t.ppf(0.975, users - 1) * error
        value, low, high = interval(row, name)
        assert (high - value, value - low) == pytest.approx((margin, margin))


def test_rows_are_in_order_and_the_unknown_device_is_last(path):
    pq.write_table(random_scores(1, devices=("unknown", "web", "mobile")), path)
    rows = [row for row in found_in(path).values() if (row.model, row.metric) == ("ours", "ap_25")]
    assert [row.context for row in rows] == [
        "all",
        *("night", "early morning", "morning", "afternoon", "evening", "late evening"),
        *("mobile", "web", "unknown"),
    ]


def test_devices_that_nobody_knows_are_left_out(path):
    pq.write_table(random_scores(2, devices=("unknown",)), path)
    assert {row.dimension for row in found_in(path).values()} == {"all", "period"}


def test_what_has_no_positive_mean_has_no_improvement(path):
    scores = random_scores(3)
    column = scores.column_names.index("cosine")
    negative = pa.array(-np.abs(scores["cosine"].to_numpy()))
    pq.write_table(scores.set_column(column, "cosine", negative), path)
    row = found_in(path)["ours", "cosine", "all", "all"]
    assert interval(row, "improvement") == (None, None, None)
    difference, low, high = interval(row, "difference")
    assert low < difference < high


def test_a_null_is_within_its_interval_as_often_as_it_says(path):
    # The same scores but for noise, on contexts and metrics: one in 20 is outside by chance.
    inside = []
    for seed in range(4):
        pq.write_table(_alike(seed), path)
        for row in found_in(path, models=["other"]).values():
            _, low, high = interval(row, "improvement")
            inside.append(low <= 0 <= high)
    assert len(inside) > 250
    assert np.mean(inside) > 0.88


def _alike(seed: int) -> pa.Table:
    scores = random_scores(seed)
    rng = np.random.default_rng(seed)
    for metric in METRICS:
        column = scores.column_names.index(metric.name)
        values = scores[metric.name].to_numpy()
        values = np.tile(values[: len(values) // 3], 3) + 0.02 * rng.normal(size=len(values))
        scores = scores.set_column(column, metric.name, pa.array(values, from_pandas=True))
    return scores


@pytest.mark.parametrize("trouble", ["order", "missing", "shuffled users"])
def test_a_file_in_another_order_is_refused(path, trouble):
    scores = random_scores(4)
    count = len(scores) // 3
    order = np.arange(len(scores))
    if trouble == "order":
        order[:2] = [1, 0]
    elif trouble == "missing":
        order = np.delete(order, count - 1)
    else:
        order = np.random.default_rng(0).permutation(count)
        order = np.concatenate([order + count * model for model in range(3)])
    pq.write_table(scores.take(order), path)
    with pytest.raises(UserError, match=r"is not in the order of cosernn_tf.evaluate"):
        found_in(path)


def test_a_model_without_scores_is_named(path):
    pq.write_table(random_scores(5), path)
    with pytest.raises(UserError, match=r"scores.parquet has no scores of 'theirs'"):
        found_in(path, models=["theirs"])


# What is compared ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> SessionsDirectory:
    return write_sessions(tmp_path_factory.mktemp("evaluated"), random_table(num_users=3))


def write_evaluation(
    folder: Path, sessions: SessionsDirectory, runs: dict[str, str], *, given: tuple[str, ...] = ()
) -> None:
    """The files of an evaluation of runs, by model, and of predictions from elsewhere."""
    folder.mkdir()
    kinds = {
        "avg_any": "heuristic",
        **dict.fromkeys((*runs, *given), "run"),
        "oracle_full": "oracle",
    }
    content = {
        "models": {name: {"title": name, "kind": kind} for name, kind in kinds.items()},
        "provenance": {
            "sessions_sha256": sessions.sha256,
            "runs": {run: {"model": {"name": model}} for run, model in runs.items()},
        },
    }
    (folder / "metrics.json").write_text(json.dumps(content))
    for name in ("scores.parquet", "_SUCCESS"):
        (folder / name).touch()


RUNS = {"a": "cosernn", "j2": "jodie", "j1": "jodie"}


@pytest.mark.parametrize(
    ("runs", "models", "reference", "expected"),
    [
        (RUNS, None, None, (("a", "j1", "mine"), "j2")),
        (RUNS, ("oracle_full", "a"), "j1", (("oracle_full", "a"), "j1")),
        (RUNS, None, "a", (("j2", "j1", "mine"), "a")),
        ({"a": "cosernn"}, None, None, (("a", "mine"), "avg_any")),
    ],
)
def test_all_runs_are_compared_with_that_of_jodie(
    tmp_path, sessions, runs, models, reference, expected
):
    write_evaluation(tmp_path / "e", sessions, runs, given=("mine",))
    evaluation = open_evaluation(tmp_path / "e", sessions)
    assert choose_models(evaluation, models, reference) == expected
    notes = list(notes_on(*expected, wanted=reference))
    assert bool(notes) == (expected[1] == "avg_any")
    assert all("no run of JODIE" in note for note in notes)


def test_nothing_to_compare_is_said(tmp_path, sessions):
    write_evaluation(tmp_path / "e", sessions, {"j": "jodie"})
    evaluation = open_evaluation(tmp_path / "e", sessions)
    assert choose_models(evaluation, None, None) == ((), "j")
    assert list(notes_on((), "j", wanted=None)) == [
        "The evaluation has no run to compare with another."
    ]


@pytest.mark.parametrize(
    ("models", "reference", "message"),
    [
        (("a", "b"), None, r"has no model 'b' \(there are avg_any, a, j2, j1, oracle_full\)"),
        (None, "b", r"has no model 'b'"),
        (("a", "j1"), "a", r"'a' is both in --models and the --reference"),
    ],
)
def test_models_that_are_not_there(tmp_path, sessions, models, reference, message):
    write_evaluation(tmp_path / "e", sessions, RUNS)
    with pytest.raises(UserError, match=message):
        choose_models(open_evaluation(tmp_path / "e", sessions), models, reference)


def test_an_evaluation_that_is_none_or_of_other_sessions(tmp_path, sessions):
    with pytest.raises(UserError, match=r"nowhere has no evaluation: run cosernn_tf.evaluate"):
        open_evaluation(tmp_path / "nowhere", sessions)
    others = write_sessions(tmp_path / "sessions", random_table(5, num_users=2))
    write_evaluation(tmp_path / "e", others, RUNS)
    with pytest.raises(UserError, match=r"e evaluates other sessions than those in"):
        open_evaluation(tmp_path / "e", sessions)
    (tmp_path / "e/metrics.json").write_text("{}")
    with pytest.raises(UserError, match=r"metrics.json is damaged \(KeyError"):
        open_evaluation(tmp_path / "e", sessions)
