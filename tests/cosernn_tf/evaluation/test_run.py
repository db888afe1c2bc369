"""The evaluation of a workspace against scores of one whole table, user by user."""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.config import ModelConfig, TrainConfig
from cosernn_tf.dataset import read_all
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation import heuristics
from cosernn_tf.evaluation.candidates import Relevance
from cosernn_tf.evaluation.catalogue import Catalogue
from cosernn_tf.evaluation.catalogue_metrics import CATALOGUE_METRICS
from cosernn_tf.evaluation.config import (
    METRICS_FILE,
    SCORES_FILE,
    EvaluatedSplit,
    EvaluationConfig,
)
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.evaluation.scores import score_schema, score_sessions
from cosernn_tf.features import embed_sessions, normalize
from cosernn_tf.models.base import ATTENTION, PREDICTION, load_model
from cosernn_tf.schema import FEATURES
from cosernn_tf.table import SessionTable
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.windows import sequence_data
from cosernn_tf.workspace import SUCCESS, Workspace, open_sessions
from tests.workspaces import random_table, split_of, write_workspace

from .random_runs import CONFIG, write_run

RUNS = {
    "second": CONFIG.model,
    "first": ModelConfig("rrn", lstm_units=6, dense_units=5, features=FEATURES),
}
"""Models that take other inputs each."""
MODELS = [*heuristics.HEURISTICS, *RUNS, *heuristics.ORACLES]
SESSIONS_PER_BLOCK = 300
METRIC_NAMES = [metric.name for metric in METRICS]

TABLE = random_table(num_users=9, sessions_per_user=120)


def make_workspace(root: Path, table: SessionTable = TABLE) -> Workspace:
    workspace = write_workspace(root, table=table)
    for seed, (name, model) in enumerate(RUNS.items()):
        write_run(workspace, name, seed=seed, model=model)
    return workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return make_workspace(tmp_path_factory.mktemp("evaluation") / "workspace")


def evaluate(workspace: Workspace, output: Path, runs=tuple(RUNS), **options) -> pa.Table:
    """The scores, by model, user and time."""
    evaluate_runs(
        workspace,
        runs,
        config=EvaluationConfig(**options),
        output=output,
        sessions_per_block=SESSIONS_PER_BLOCK,
    )
    return sort(pq.read_table(output / SCORES_FILE))


def sort(scores: pa.Table) -> pa.Table:
    keys = ("model", "user_id", "session_start")
    return scores.sort_by([(key, "ascending") for key in keys])


def whole_sequences(workspace: Workspace, run: str, output: str = PREDICTION) -> np.ndarray:
    """What the model says of every session of the workspace from each user's whole sequence."""
    sessions = open_sessions(workspace.sessions)
    table = read_all(sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    data = sequence_data(table, embed_sessions(table, tracks.vectors), RUNS[run].inputs)
    lengths = np.diff(table.row_splits)
    inputs = {}
    for name, values in data.inputs.items():
        if len(values) == table.num_users:
            inputs[name] = values
            continue
        inputs[name] = np.zeros((len(lengths), lengths.max(), *values.shape[1:]), values.dtype)
        for user in range(table.num_users):
            of_user = values[slice(*table.row_splits[user : user + 2])]
            inputs[name][user, : lengths[user]] = of_user
    predictions = load_model(workspace.run(run))(inputs)[output].numpy()
    return np.concatenate(
        [rows[:length] for rows, length in zip(predictions, lengths, strict=True)]
    )


def whole_table(
    workspace: Workspace, config: EvaluationConfig, first: int, before: int
) -> pa.Table:
    """The scores of all users at once."""
    sessions = open_sessions(workspace.sessions)
    table = read_all(sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions).vectors
    embeddings = embed_sessions(table, tracks)
    train_listens = sessions.tracks["train_listens"].to_numpy()
    predictions = {
        **heuristics.predict_heuristics(table, embeddings, train_listens),
        **{run: whole_sequences(workspace, run) for run in RUNS},
        **heuristics.predict_oracles(table, embeddings, tracks, seed=config.oracle_seed),
    }
    attention = {"second": whole_sequences(workspace, "second", ATTENTION)[:, 0]}
    return sort(
        score_sessions(
            table,
            embeddings,
            tracks,
            sessions_mask=(table.session_start >= first) & (table.session_start < before),
            predictions=predictions,
            training_end=VALIDATION_START,
            attention=attention,
            relevance=config.relevance,
            save_predictions=True,
        )
    )


def assert_scores_equal(actual: pa.Table, expected: pa.Table) -> None:
    assert actual.num_rows == expected.num_rows > 0
    for name in actual.column_names:
        values, wanted = actual[name], expected[name]
        if name == "prediction":
            values, wanted = pa.compute.list_flatten(values), pa.compute.list_flatten(wanted)
        if not pa.types.is_floating(values.type):
            assert values.equals(wanted), name
            continue
        # The last bits of a run's predictions depend on what else is in the batch, and with them,
        # once in a while, which of two tracks with all but equal scores is first.
        found, sought = values.to_numpy(), wanted.to_numpy()
        np.testing.assert_array_equal(np.isnan(found), np.isnan(sought), name)
        differs = np.nan_to_num(np.abs(found - sought)) > 2e-5
        assert differs.mean() <= (0.005 if name.startswith(("ap_", "recall10_")) else 0), name


TEST_START = split_of(TABLE).test_start
VALIDATION_START = split_of(TABLE).validation_start


@pytest.mark.parametrize(
    ("options", "first", "before"),
    [
        ({}, TEST_START, 2**40),
        ({"split": EvaluatedSplit.VALIDATION}, VALIDATION_START, TEST_START),
        ({"relevance": Relevance.PLAYED, "oracle_seed": 5}, TEST_START, 2**40),
    ],
    ids=["test", "validation", "played"],
)
def test_blocks_add_up_to_the_whole_table(workspace, tmp_path, options, first, before):
    config = EvaluationConfig(**options)
    actual = evaluate(workspace, tmp_path / "out", save_predictions=True, **options)
    assert actual.schema.equals(score_schema(with_predictions=True))
    assert_scores_equal(actual, whole_table(workspace, config, first, before))

    of_run = actual.filter(pa.compute.field("model") == "second")["attention_offset"]
    assert of_run.null_count == 0
    assert len(set(of_run.to_pylist())) > 50
    assert actual["attention_offset"].null_count == actual.num_rows - len(of_run)
    assert actual["session_rr_50"].null_count < actual.num_rows
    assert 0 < actual["ap_25"].null_count < actual.num_rows
    blocks = pq.ParquetFile(tmp_path / "out" / SCORES_FILE).num_row_groups
    assert blocks > 2


def test_scores_depend_neither_on_the_blocks_nor_on_saving_predictions(workspace, tmp_path):
    scores = evaluate(workspace, tmp_path / "out", save_predictions=True)
    evaluate_runs(workspace, list(RUNS), config=EvaluationConfig(), output=tmp_path / "one block")
    together = pq.read_table(tmp_path / "one block" / SCORES_FILE)
    assert pq.ParquetFile(tmp_path / "one block" / SCORES_FILE).num_row_groups == 1
    assert together.schema.equals(score_schema())
    assert_scores_equal(sort(together), scores.drop_columns("prediction"))
    one, other = (
        json.loads((tmp_path / name / METRICS_FILE).read_text()) for name in ("out", "one block")
    )
    # A run's predictions differ by rounding.
    for name, model in one["models"].items():
        for metric, interval in model["intervals"].items():
            same = other["models"][name]["intervals"][metric]
            assert (interval or []) == pytest.approx(same or [], rel=1e-6)
    assert one["models"]["first"]["intervals"]["cosine"] is not None
    for run in RUNS:
        for model, tests in one["tests"][run].items():
            test, same = tests["cosine"], other["tests"][run][model]["cosine"]
            p_value = same["clustered"]["p_value"]
            assert test["clustered"]["p_value"] == pytest.approx(p_value, abs=3e-4)


def test_saved_predictions_redo_the_cosine(workspace, tmp_path):
    scores = evaluate(workspace, tmp_path / "out", save_predictions=True)
    sessions = open_sessions(workspace.sessions)
    table = read_all(sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    rows = {
        (table.user_id[user].decode(), start): row
        for row, (user, start) in enumerate(
            zip(table.user_of_session.tolist(), table.session_start.tolist(), strict=True)
        )
    }
    played = embed_sessions(table, tracks.vectors).played
    for score in scores.to_pylist():
        prediction = np.array(score["prediction"])
        length = np.linalg.norm(prediction)
        target = played[rows[score["user_id"], score["session_start"]]]
        expected = prediction @ target / length if length else 0.0
        assert score["cosine"] == pytest.approx(expected, abs=1e-5)


def test_the_future_does_not_matter(workspace, tmp_path):
    """From the fourth test session of each user on everything else happens, at the same times."""
    rng = np.random.default_rng(1)
    users = TABLE.user_of_session
    in_test = TABLE.session_start >= TEST_START
    nth_of_test = np.cumsum(in_test) - np.concatenate([[0], np.cumsum(in_test)])[
        TABLE.row_splits[:-1]
    ].take(users)
    changed = in_test & (nth_of_test >= 4)
    later = in_test & (nth_of_test > 4)

    def of(name: str, rows: np.ndarray) -> np.ndarray:
        values = getattr(TABLE, name).copy()
        values[rows] = rng.permuted(values[rows], axis=0)
        return values

    other = dataclasses.replace(
        TABLE,
        track=of("track", changed),
        skipped=np.where(changed[:, None], rng.permuted(TABLE.skipped, axis=0), TABLE.skipped),
        num_tracks=of("num_tracks", changed),
        **{name: of(name, later) for name in ("hour", "day_of_week", "device", "stream_source")},
    )
    options = {"save_predictions": True, "catalogue": True}
    before = evaluate(workspace, tmp_path / "before", **options)
    after = evaluate(make_workspace(tmp_path / "workspace", other), tmp_path / "after", **options)
    first_changed = {
        TABLE.user_id[user].decode(): TABLE.session_start[(users == user) & changed].min(
            initial=2**40
        )
        for user in range(TABLE.num_users)
    }
    assert min(first_changed.values()) < 2**40

    def earlier(scores: pa.Table) -> list[dict]:
        return [s for s in scores.to_pylist() if s["session_start"] < first_changed[s["user_id"]]]

    assert len(earlier(before)) > len(MODELS) * 2 * (TABLE.num_users - 1)
    assert earlier(before) == earlier(after)

    def of_first_changed(scores: pa.Table) -> dict[tuple[str, str], dict]:
        return {
            (s["model"], s["user_id"]): s
            for s in scores.to_pylist()
            if s["session_start"] == first_changed[s["user_id"]]
        }

    # The session itself is predicted as before, and scored otherwise.
    old, new = of_first_changed(before), of_first_changed(after)
    both = [key for key in old.keys() & new.keys() if key[0] not in heuristics.ORACLES]
    assert len(both) > 3 * (len(MODELS) - 2)
    for key in both:
        assert old[key]["prediction"] == new[key]["prediction"], key
        assert not any(old[key]["prediction"]) or old[key]["cosine"] != new[key]["cosine"]


def test_excluded_users_are_not_scored_and_change_no_other(workspace, tmp_path):
    everyone = evaluate(workspace, tmp_path / "everyone")
    excluded = ("user-3", "user-7")
    some = evaluate(workspace, tmp_path / "some", exclude_users=excluded)
    is_excluded = pa.compute.is_in(everyone["user_id"], pa.array(excluded))
    assert_scores_equal(some, everyone.filter(pa.compute.invert(is_excluded)))
    assert some.num_rows < everyone.num_rows
    metrics = json.loads((tmp_path / "some" / METRICS_FILE).read_text())
    assert metrics["provenance"]["evaluation"]["exclude_users"] == list(excluded)
    with pytest.raises(UserError, match=r"'user-77' is not in .*--exclude_users"):
        evaluate(workspace, tmp_path / "some", exclude_users=("user-3", "user-77"))


# What is written ---------------------------------------------------------------------------------


def test_metrics_are_the_means_of_the_scores_and_say_where_they_come_from(workspace, tmp_path):
    summary = evaluate_runs(
        workspace, list(RUNS), config=EvaluationConfig(), output=tmp_path / "out"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        SUCCESS,
        METRICS_FILE,
        SCORES_FILE,
    ]
    content = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    assert list(content["models"]) == MODELS == [model.name for model in summary.models]
    values = defaultdict(list)
    for row in pq.read_table(tmp_path / "out" / SCORES_FILE).to_pylist():
        for name in METRIC_NAMES:
            if row[name] is not None:
                values[row["model"], name].append(row[name])
    for model, of_model in content["models"].items():
        for metric, mean in of_model["metrics"].items():
            assert mean == pytest.approx(np.mean(values[model, metric]), abs=1e-9)
    # Every run is tested against every other model; the first is that of the printed table.
    assert content["references"] == list(RUNS) == list(summary.references)
    for run in RUNS:
        assert set(content["tests"][run]) == {*MODELS} - {run}

    sessions = open_sessions(workspace.sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions)
    provenance = content["provenance"]
    assert provenance["sessions_sha256"] == sessions.sha256
    assert provenance["embeddings_sha256"] == tracks.sha256
    assert {name: TrainConfig.from_dict(run) for name, run in provenance["runs"].items()} == {
        name: dataclasses.replace(CONFIG, model=model) for name, model in RUNS.items()
    }
    assert provenance["boundaries"] == {
        "validation_start": VALIDATION_START,
        "test_start": TEST_START,
    }
    assert provenance["evaluation"] == {
        "split": "test",
        "relevance": "any",
        "exclude_users": [],
        "catalogue": False,
        "save_predictions": False,
        "oracle_seed": 0,
        "bootstrap_resamples": 10_000,
        "bootstrap_seed": 1,
    }
    assert set(provenance["versions"]) == {"cosernn_tf", "keras", "numpy", "python", "tensorflow"}

    skipped_only = ~embed_sessions(read_all(sessions), tracks.vectors).has_played
    of_test = read_all(sessions).session_start >= TEST_START
    assert content["sessions_without_target"] == np.count_nonzero(skipped_only & of_test) > 0


def test_the_catalogue(workspace, tmp_path):
    scores = evaluate(workspace, tmp_path / "out", catalogue=True, save_predictions=True)
    names = [metric.name for metric in CATALOGUE_METRICS]
    assert scores.column_names[-len(names) - 1 :] == [*names, "prediction"]
    without = evaluate(workspace, tmp_path / "without", save_predictions=True)
    assert_scores_equal(scores.drop_columns(names), without)
    content = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    assert json.loads((tmp_path / "without" / METRICS_FILE).read_text())["catalogue"] is None
    for model, of_model in content["catalogue"]["models"].items():
        rows = scores.filter(pa.compute.field("model") == model)
        for name, mean in of_model["metrics"].items():
            assert mean == pytest.approx(pa.compute.mean(rows[name]).as_py()), name
            assert content["catalogue"]["scored"][name] == len(rows) - rows[name].null_count
    assert list(content["catalogue"]["models"]) == MODELS
    assert content["catalogue"]["sessions"] == content["sessions"]
    best = content["catalogue"]["models"]["oracle_full"]["metrics"]["catalogue_ndcg_100"]
    assert best > content["catalogue"]["models"]["last_any"]["metrics"]["catalogue_ndcg_100"]

    # From the saved predictions, in one block, come the same scores.
    sessions = open_sessions(workspace.sessions)
    table = read_all(sessions)
    tracks = load_track_embeddings(workspace.tracks, sessions).vectors
    keys = dict(zip(zip(table.user_id[table.user_of_session], table.session_start.tolist(),
                        strict=True), range(table.num_sessions), strict=True))  # fmt: skip
    rows = scores.filter(pa.compute.field("model") == "second")
    targets = [keys[row["user_id"].encode(), row["session_start"]] for row in rows.to_pylist()]
    vectors = np.array(rows["prediction"].to_pylist(), np.float32)
    catalogue = Catalogue(tracks, sessions.train_listens, models=["second"])
    found = catalogue.score(table, np.array(targets), {"second": normalize(vectors)})["second"]
    for name in names:
        np.testing.assert_allclose(found[name], rows[name].to_numpy(), atol=0.1, err_msg=name)
        differs = np.nan_to_num(np.abs(found[name] - rows[name].to_numpy())) > 1e-9
        assert differs.mean() < 0.01, name
