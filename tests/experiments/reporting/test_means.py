"""Means with users as clusters, against the formula user by user."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from experiments.reporting.means import means_by_model


def test_means_and_intervals_are_those_of_the_formula(tmp_path):
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(9), rng.integers(1, 12, 9))
    scores = {"a": rng.random(len(user)) + user / 5, "b": rng.random(len(user))}
    scores["a"][rng.random(len(user)) < 0.3] = np.nan
    scores["a"][user == 4] = np.nan  # who then has no say
    with pq.ParquetWriter(tmp_path / "scores.parquet", _table([], scores, user).schema) as writer:
        for rows in (user < 3, (user >= 3) & (user < 4), user >= 4):
            table = _table(np.flatnonzero(rows), scores, user)
            writer.write_table(table, row_group_size=len(table))
    found = means_by_model(tmp_path / "scores.parquet", ["x", "empty"])
    assert list(found) == ["a", "b"]
    for model, values in scores.items():
        is_scored = ~np.isnan(values)
        known = np.unique(user[is_scored])
        mean = values[is_scored].mean()
        residuals = [(values[is_scored & (user == u)] - mean).sum() for u in known]
        count = len(known)
        error = np.sqrt(count / (count - 1) * np.square(residuals).sum()) / is_scored.sum()
        margin = stats.t.ppf(0.975, count - 1) * error
        result = found[model]["x"]
        assert (result.sessions, result.users) == (is_scored.sum(), count)
        assert result.value == pytest.approx(mean)
        assert (result.low, result.high) == pytest.approx((mean - margin, mean + margin))
        assert "empty" not in found[model]


def test_one_user_has_a_mean_and_no_interval(tmp_path):
    scores = {"a": np.array([0.25, 0.75])}
    table = _table([0, 1], scores, np.array([0, 0]))
    pq.write_table(table, tmp_path / "scores.parquet")
    mean = means_by_model(tmp_path / "scores.parquet", ["x"])["a"]["x"]
    assert (mean.value, mean.low, mean.high) == (0.5, None, None)


def _table(rows, scores, user) -> pa.Table:
    """Rows of all models, model by model."""
    parts = []
    for model, values in scores.items():
        of_rows = values[np.asarray(rows, int)]
        columns = {
            "model": pa.array([model] * len(of_rows), pa.string()),
            "user_id": pa.array([f"u{user[row]}" for row in rows], pa.string()),
            "x": pa.array(of_rows, pa.float64(), mask=np.isnan(of_rows)),
            "empty": pa.nulls(len(of_rows), pa.float64()),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)
