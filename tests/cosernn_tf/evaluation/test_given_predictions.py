"""Predictions that come from elsewhere: evaluated as a run's are, or refused."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from cosernn_tf.dataset import read_all
from cosernn_tf.errors import UserError
from cosernn_tf.evaluation import prediction_file
from cosernn_tf.evaluation.config import (
    METRICS_FILE,
    SCORES_FILE,
    EvaluatedSplit,
    EvaluationConfig,
    PredictionFile,
    prediction_files,
)
from cosernn_tf.evaluation.metrics import METRICS
from cosernn_tf.evaluation.run import evaluate_runs
from cosernn_tf.features import embed_sessions
from cosernn_tf.tracks import load_track_embeddings
from cosernn_tf.workspace import Workspace, open_sessions, sha256
from tests.workspaces import random_table, split_of, write_sessions, write_tracks

from .random_runs import write_run

TABLE = random_table(num_users=9, sessions_per_user=60)
NUM_SHARDS = 7
SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("session_start", pa.int64()),
        ("prediction", pa.list_(pa.float32())),
    ]
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("given") / "workspace")
    write_tracks(workspace.tracks, write_sessions(workspace.sessions, TABLE, num_shards=NUM_SHARDS))
    write_run(workspace, "run")
    return workspace


@pytest.fixture(scope="module")
def saved(workspace) -> pa.Table:
    """The scores, with predictions, of an evaluation of the run."""
    config = EvaluationConfig(save_predictions=True)
    evaluate_runs(workspace, ["run"], config=config)
    return pq.read_table(workspace.evaluation / SCORES_FILE)


def of_model(scores: pa.Table, model: str) -> pa.Table:
    """Its rows, in the order in which they stand; a file of predictions has no attention."""
    return scores.filter(pc.field("model") == model).drop_columns(["model", "attention_offset"])


def rows_of(scores: pa.Table, seed: int = 0) -> pa.Table:
    """The run's predictions, in random order."""
    rows = of_model(scores, "run").select(SCHEMA.names).cast(SCHEMA)
    return rows.take(np.random.default_rng(seed).permutation(rows.num_rows))


def evaluate(workspace: Workspace, rows: pa.Table, folder: Path, **options) -> pa.Table:
    """The scores of rows that come as a file, beside those of the run."""
    folder.mkdir(exist_ok=True)
    pq.write_table(rows, folder / "given.parquet", row_group_size=101)
    evaluate_runs(
        workspace,
        ["run"],
        config=EvaluationConfig(save_predictions=True, **options),
        predictions=[PredictionFile("given", folder / "given.parquet")],
        output=folder / "out",
        sessions_per_block=150,
    )
    return pq.read_table(folder / "out" / SCORES_FILE)


# As a run ----------------------------------------------------------------------------------------


def test_predictions_of_a_run_get_the_scores_of_the_run(workspace, saved, tmp_path):
    scores = evaluate(workspace, rows_of(saved), tmp_path)
    assert of_model(scores, "given").num_rows > 100
    assert of_model(scores, "given").equals(of_model(saved, "run"))
    # All else is as it was.
    assert scores.filter(pc.field("model") != "given").num_rows == saved.num_rows
    content = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    models = content["models"]
    assert list(models)[5:-2] == content["references"] == ["run", "given"]
    assert models["given"] == {**models["run"], "title": "given"}
    for metric, test in content["tests"]["given"]["run"].items():
        assert (test["mean_difference"], test["t_test"]["p_value"]) == (0, 1), metric
        assert (test["interval"], test["clustered"]["p_value"]) == ([0, 0], 1), metric
    file = tmp_path / "given.parquet"
    assert content["provenance"]["predictions"] == {
        "given": {
            "file": str(file),
            "rows": pq.ParquetFile(file).metadata.num_rows,
            "sha256": sha256(file.read_bytes()),
        }
    }
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    "types",
    [
        {"prediction": pa.list_(pa.float32(), 40), "user_id": pa.large_string()},
        {"prediction": pa.large_list(pa.float64()), "session_start": pa.uint64()},
        {"prediction": pa.list_(pa.float64(), 40), "session_start": pa.int32()},
        {"user_id": pa.dictionary(pa.int32(), pa.string())},
    ],
)
def test_types_that_other_programs_write(workspace, saved, tmp_path, types):
    rows = rows_of(saved)
    schema = pa.schema([(name, types.get(name, rows.schema.field(name).type)) for name in types])
    columns = {name: rows[name].cast(schema.field(name).type) for name in types}
    others = {name: rows[name] for name in rows.column_names if name not in types}
    table = pa.table({"comment": ["any"] * rows.num_rows, **others, **columns})
    scores = evaluate(workspace, table, tmp_path)
    assert of_model(scores, "given").equals(of_model(saved, "run"))


@pytest.mark.parametrize("factor", [2.0**-400, 2.0**-100, 2.0**100, 2.0**900])
def test_vectors_may_be_longer_and_shorter_than_float32_holds(workspace, saved, tmp_path, factor):
    rows = rows_of(saved)
    vectors = factor * np.array(rows["prediction"].to_pylist())
    assert np.isfinite(vectors).all()
    assert vectors.any(axis=1).all()
    place = rows.column_names.index("prediction")
    table = rows.set_column(place, "prediction", pa.array(list(vectors)))
    scores = evaluate(workspace, table, tmp_path)
    for metric in METRICS:
        given, own = of_model(scores, "given")[metric.name], of_model(saved, "run")[metric.name]
        np.testing.assert_allclose(given.to_numpy(), own.to_numpy(), atol=1e-6)


def test_more_shards_than_files_that_may_be_open(workspace, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_file, "_MAX_BUCKETS", 3)
    assert prediction_file.Buckets(tmp_path, NUM_SHARDS).shards == [[0, 1, 2], [3, 4], [5, 6]]
    monkeypatch.setattr(prediction_file, "_ROWS_AT_ONCE", 17)
    scores = evaluate(workspace, rows_of(saved), tmp_path)
    assert of_model(scores, "given").equals(of_model(saved, "run"))


def other_sessions(mask: np.ndarray) -> pa.Table:
    """Rows of the sessions of `TABLE`, with vectors that would be noticed."""
    users = TABLE.user_id[TABLE.user_of_session[mask]]
    return pa.table(
        {
            "user_id": [user.decode() for user in users],
            "session_start": TABLE.session_start[mask],
            "prediction": [[9.0] * 40] * int(mask.sum()),
        },
        SCHEMA,
    )


def test_sessions_of_the_split_that_are_not_scored_may_have_rows(workspace, saved, tmp_path):
    tracks = load_track_embeddings(workspace.tracks, open_sessions(workspace.sessions))
    in_split = TABLE.session_start >= split_of(TABLE).test_start
    without_target = in_split & ~embed_sessions(TABLE, tracks.vectors).has_played
    assert without_target.any()
    rows = pa.concat_tables([other_sessions(without_target), rows_of(saved)])
    assert of_model(evaluate(workspace, rows, tmp_path / "all"), "given").equals(
        of_model(saved, "run")
    )
    excluded = "user-3"
    others = of_model(saved, "run").filter(pc.field("user_id") != excluded)
    assert others.num_rows < of_model(saved, "run").num_rows
    some = rows_of(saved).filter(pc.field("user_id") != excluded)
    for number, given in enumerate((rows, some)):
        scores = evaluate(workspace, given, tmp_path / str(number), exclude_users=(excluded,))
        assert of_model(scores, "given").equals(others)


def test_another_split(workspace, saved, tmp_path):
    config = EvaluationConfig(split=EvaluatedSplit.VALIDATION, save_predictions=True)
    evaluate_runs(workspace, ["run"], config=config, output=tmp_path / "saved")
    of_validation = pq.read_table(tmp_path / "saved" / SCORES_FILE)
    rows = rows_of(of_validation)
    scores = evaluate(workspace, rows, tmp_path, split=EvaluatedSplit.VALIDATION)
    assert of_model(scores, "given").equals(of_model(of_validation, "run"))
    with pytest.raises(UserError, match=f"rows of no session of the split: {rows.num_rows:,} "):
        evaluate(workspace, rows, tmp_path)


# Faults ------------------------------------------------------------------------------------------


def change(rows: pa.Table, name: str, values: dict[int, object]) -> pa.Table:
    """Other values in some places of a column."""
    column = rows[name].to_pylist()
    for row, value in values.items():
        column[row] = value
    type_ = rows.schema.field(name).type
    return rows.set_column(rows.column_names.index(name), name, pa.array(column, type_))


def named(rows: pa.Table, row: int) -> str:
    user, start = (rows[name][row].as_py() for name in ("user_id", "session_start"))
    return f"user '{user}' at {start}"


def first_in_order(workspace: Workspace, rows: pa.Table) -> str:
    """The first of some sessions in the order of the shards."""
    wanted = set(zip(rows["user_id"].to_pylist(), rows["session_start"].to_pylist(), strict=True))
    table = read_all(open_sessions(workspace.sessions))
    for user, start in zip(table.user_of_session, table.session_start.tolist(), strict=True):
        if (name := table.user_id[user].decode(), start) in wanted:
            return f"user '{name}' at {start}"
    raise AssertionError("none of them is there")


def faulty_rows(workspace: Workspace, rows: pa.Table) -> dict[str, tuple[pa.Table, str]]:
    """Rows by what is wrong with them, and what is said."""
    vector, count = [0.5] * 40, rows.num_rows
    short = pa.array([vector[:39]] * count, pa.list_(pa.float32(), 39))
    nan = {5: [*vector[:39], float("nan")], 8: [None, *vector[1:]], 9: [float("-inf"), *vector[1:]]}
    return {
        "missing": (
            rows.slice(3),
            rf"sessions that are scored, without a row: 3 \(first: "
            rf"{first_in_order(workspace, rows.slice(0, 3))}\)",
        ),
        "extra user": (
            change(rows, "user_id", {count - 1: "nobody\n"}),
            rf"rows of no session of the split: 1 \(first: user 'nobody\\n' at "
            rf"{rows['session_start'][count - 1]}\); sessions that are scored, without a row: 1 \(",
        ),
        "extra start": (
            pa.concat_tables([rows, change(rows.slice(4, 2), "session_start", {0: 7, 1: -1})]),
            rf"rows of no session of the split: 2 \(first: user '{rows['user_id'][4]}' at 7\)\.",
        ),
        "a key that would overflow": (
            pa.concat_tables(
                [rows, change(rows.slice(4, 2), "session_start", {0: 2**63 - 1, 1: 2**33 + 5})]
            ),
            r"rows of no session of the split: 2 \(",
        ),
        "duplicates": (
            pa.concat_tables([rows, rows.slice(2, 1), rows.slice(2, 1), rows.slice(0, 1)]),
            rf"sessions with more than one row: 2 \(first: "
            rf"{first_in_order(workspace, rows.take([0, 2]))}\)\.",
        ),
        "dimension": (
            change(rows, "prediction", {4: vector[:39], 60: [], 7: [*vector, 1.0]}),
            rf"rows with another number of values than 40: 3 \(first: row 5, {named(rows, 4)}, "
            r"39 values\)",
        ),
        "not finite": (
            change(rows, "prediction", nan),
            rf"rows with a value that is not finite: 3 \(first: row 6, {named(rows, 5)}\)",
        ),
        "null vector": (
            change(rows, "prediction", {11: None}),
            rf"rows with a null: 1 \(first: row 12, {named(rows, 11)}\)",
        ),
        "null key": (
            change(change(rows, "user_id", {30: None}), "session_start", {20: None}),
            r"rows with a null: 2 \(first: row 21\)",
        ),
        "several": (
            change(rows, "prediction", {0: None, 1: vector[:7], 70: [float("inf")] * 40}),
            r"rows with a null: 1 .*; rows with another number of values than 40: 1 .*",
        ),
        "no rows": (rows.slice(0, 0), rf"sessions that are scored, without a row: {count:,} \("),
        "columns": (
            rows.rename_columns(["user", "session_start", "prediction"]),
            r"has 0 columns 'user_id', expected one; its columns are user, session_start, predic",
        ),
        "twice a column": (
            pa.table([*rows.columns, rows["user_id"]], names=[*rows.column_names, "user_id"]),
            r"has 2 columns 'user_id', expected one",
        ),
        "type of user": (
            rows.set_column(0, "user_id", pa.array(range(count))),
            r"has 'user_id' of type int64, expected strings",
        ),
        "type of start": (
            rows.set_column(1, "session_start", rows["session_start"].cast(pa.timestamp("s"))),
            r"has 'session_start' of type timestamp.*, expected integers, UTC seconds",
        ),
        "type of prediction": (
            rows.set_column(2, "prediction", pa.array([[1] * 40] * count)),
            r"has 'prediction' of type list<.*int64>, expected lists of 40 floating-point",
        ),
        "fixed dimension": (
            rows.set_column(2, "prediction", short),
            r"has 'prediction' of type fixed_size_list<.*>\[39\], expected lists of 40",
        ),
    }  # fmt: skip


FAULTS = (
    "missing", "extra user", "extra start", "a key that would overflow", "duplicates", "dimension",
    "not finite", "null vector", "null key", "several", "no rows", "columns",
    "twice a column", "type of user", "type of start", "type of prediction", "fixed dimension",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_line_and_leave_the_older_evaluation(workspace, saved, tmp_path, fault):
    evaluations = {path: path.read_bytes() for path in workspace.evaluation.iterdir()}
    faulty = faulty_rows(workspace, rows_of(saved))
    assert tuple(faulty) == FAULTS
    rows, message = faulty[fault]
    pq.write_table(rows, tmp_path / "given.parquet", row_group_size=50)
    files = prediction_files([f"given={tmp_path / 'given.parquet'}"])
    with pytest.raises(UserError, match=message) as error:
        evaluate_runs(workspace, [], config=EvaluationConfig(), predictions=files)
    assert str(error.value).startswith(f"--predictions=given={tmp_path}/given.parquet")
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in workspace.evaluation.iterdir()} == evaluations
    assert not list(workspace.root.glob(".evaluation*"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"user_id,session_start\n", None])
def test_a_file_that_is_no_parquet_or_was_cut(workspace, saved, tmp_path, content):
    path = tmp_path / "given.parquet"
    pq.write_table(rows_of(saved), path)
    whole = path.read_bytes()
    # The columns damaged, the footer whole.
    damaged = whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :]
    path.write_bytes(damaged if content is None else content)
    with pytest.raises(UserError, match="cannot be read as Parquet") as error:
        evaluate_runs(
            workspace, [], config=EvaluationConfig(), predictions=[PredictionFile("given", path)]
        )
    assert "\n" not in str(error.value)


def test_a_name_that_a_run_has(workspace, tmp_path):
    file = PredictionFile("run", tmp_path / "given.parquet")
    for runs in (["run"], None):
        with pytest.raises(UserError, match=r"=run=.* has the name of .*runs/run: choose another"):
            evaluate_runs(workspace, runs, config=EvaluationConfig(), predictions=[file])


# Names -------------------------------------------------------------------------------------------


def test_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.parquet", "b=c.parquet", "popularity.parquet"):
        Path(name).touch()
    assert prediction_files([]) == ()
    assert prediction_files(["a.parquet", "x=a.parquet", "y=b=c.parquet"]) == (
        PredictionFile("a", Path("a.parquet")),
        PredictionFile("x", Path("a.parquet")),
        PredictionFile("y", Path("b=c.parquet")),
    )
    for values, message in (
        (["=a.parquet"], "--predictions==a.parquet has no name: give it as name=file"),
        (["a=b.parquet"], "--predictions=a=b.parquet: there is no such file"),
        (["a=."], "--predictions=a=.: there is no such file"),
        (["popularity.parquet"], "=popularity=popularity.parquet has the name of a heuristic"),
        (["oracle_full=a.parquet"], "has the name of a heuristic or oracle: choose another"),
        (
            ["a.parquet", "a=b=c.parquet"],
            "--predictions=a=b=c.parquet has the name of --predictions=a=a.parquet: choose",
        ),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            prediction_files(values)
