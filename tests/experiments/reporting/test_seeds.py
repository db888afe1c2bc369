"""Scores over seeds, against averages and tests made by hand."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from cosernn_tf.evaluation.metrics import METRICS
from experiments.reporting.seeds import group_scores, summarize_groups, user_blocks

MODELS = ("last_any", "a-seed1", "a-seed2", "b", "oracle_full")
GROUPS = {"a": ("a-seed1", "a-seed2"), "b": ("b",)}


def scores_of(users: int, *, first: int, seed: int) -> pa.Table:
    """A block: of each model all sessions of the users."""
    rng = np.random.default_rng(seed)
    sessions = [(f"u{first + user}", 10 * n) for user in range(users) for n in range(user + 1)]
    missing = rng.random((len(METRICS), len(sessions))) < 0.2
    tables = []
    for model in MODELS:
        columns = {
            "model": [model] * len(sessions),
            "user_id": [user for user, _ in sessions],
            "session_start": pa.array([start for _, start in sessions], pa.int64()),
        }
        for metric, is_missing in zip(METRICS, missing, strict=True):
            values = rng.random(len(sessions))
            is_missing = is_missing & (metric.k is not None)
            columns[metric.name] = pa.array(values, mask=is_missing)
        columns["prediction"] = [[1.0, 2.0]] * len(sessions)
        tables.append(pa.table(columns))
    return pa.concat_tables(tables).combine_chunks()


BLOCKS = [
    scores_of(5, first=0, seed=1),
    scores_of(1, first=5, seed=2),
    scores_of(4, first=6, seed=3),
]


@pytest.mark.parametrize("row_group_size", [1, 7, 75, 76, 10_000])
def test_blocks_are_found_however_the_file_is_cut(tmp_path, row_group_size):
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.concat_tables(BLOCKS), path, row_group_size=row_group_size)
    found = list(user_blocks(path))
    assert len(found) == len(BLOCKS)
    for block, expected in zip(found, BLOCKS, strict=True):
        assert block.combine_chunks().equals(expected.drop_columns(["prediction"]))


def test_a_model_alone_is_one_block_and_an_empty_file_none(tmp_path):
    alone = BLOCKS[0].slice(0, 15)
    pq.write_table(pa.concat_tables([alone, alone]), tmp_path / "one.parquet", row_group_size=4)
    assert [block.num_rows for block in user_blocks(tmp_path / "one.parquet")] == [30]
    pq.write_table(alone.slice(0, 0), tmp_path / "none.parquet")
    assert list(user_blocks(tmp_path / "none.parquet")) == []


def column(table: pa.Table, model: str, name: str) -> np.ndarray:
    rows = table.filter(pa.compute.field("model") == model)
    return rows[name].cast(pa.float64()).to_numpy()


def test_scores_of_a_model_are_the_means_of_its_runs():
    grouped = group_scores(BLOCKS[0], GROUPS)
    assert grouped["model"].unique().to_pylist() == ["last_any", "a", "b", "oracle_full"]
    for metric in METRICS:
        expected = (
            column(BLOCKS[0], "a-seed1", metric.name) + column(BLOCKS[0], "a-seed2", metric.name)
        ) / 2
        found = column(grouped, "a", metric.name)
        np.testing.assert_allclose(found, expected)
        np.testing.assert_array_equal(
            column(grouped, "b", metric.name), column(BLOCKS[0], "b", metric.name)
        )
    nulls = grouped.filter(pa.compute.field("model") == "a")["ap_25"]
    assert nulls.null_count == np.isnan(column(grouped, "a", "ap_25")).sum() > 0


def test_runs_that_have_not_scored_the_same_sessions_are_refused():
    block = BLOCKS[0]
    others = pa.array([start + 1 for start in block["session_start"].to_pylist()])
    is_second = pa.compute.equal(block["model"], "a-seed2")
    starts = pa.compute.if_else(is_second, others, block["session_start"])
    position = block.schema.get_field_index("session_start")
    with pytest.raises(ValueError, match="same sessions"):
        group_scores(block.set_column(position, "session_start", starts), GROUPS)


def test_tests_are_those_of_the_means_of_seeds(tmp_path):
    """Against SciPy, on all blocks together."""
    whole = pa.concat_tables(BLOCKS)
    pq.write_table(whole, tmp_path / "scores.parquet", row_group_size=50)
    content = summarize_groups(
        tmp_path / "scores.parquet", GROUPS, bootstrap=None, grouped=tmp_path / "grouped.parquet"
    )
    assert list(content["models"]) == ["last_any", "a", "b", "oracle_full"]
    assert set(content["tests"]) == {"a", "b", "last_any"}
    for metric in METRICS:
        of_a = (column(whole, "a-seed1", metric.name) + column(whole, "a-seed2", metric.name)) / 2
        of_b = column(whole, "b", metric.name)
        is_scored = ~np.isnan(of_a)
        expected = stats.ttest_rel(of_a[is_scored], of_b[is_scored])
        found = content["tests"]["a"]["b"][metric.name]
        assert found["t_test"]["p_value"] == pytest.approx(expected.pvalue)
        assert found["mean_difference"] == pytest.approx(np.nanmean(of_a - of_b))
        assert content["models"]["a"]["metrics"][metric.name] == pytest.approx(np.nanmean(of_a))
    stored = pq.read_table(tmp_path / "grouped.parquet")
    assert stored.num_rows == whole.num_rows * 4 // 5
    assert pq.ParquetFile(tmp_path / "grouped.parquet").num_row_groups == len(BLOCKS)
