"""Logs to measure with: seeded, of the right size, shuffled, with the skew that they are for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.logs import LISTENS, ROWS_PER_ROW_GROUP, LogConfig, Skew, write_log
from cosernn_tf.errors import UserError
from cosernn_tf.schema import LISTEN_SCHEMA

NUM_LISTENS = 30_000


def made(path: Path, **options) -> Path:
    write_log(LogConfig(**{"num_listens": NUM_LISTENS, "num_files": 3, **options}), path)
    return path / LISTENS


def read(folder: Path) -> pa.Table:
    return pq.read_table(folder)


def shares(column: pa.ChunkedArray) -> np.ndarray:
    """Of the values in all rows, the largest first."""
    counts = column.value_counts().field("counts").to_numpy()
    return np.sort(counts)[::-1] / len(column)


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> dict[Skew, pa.Table]:
    root = tmp_path_factory.mktemp("logs")
    return {skew: read(made(root / skew, skew=skew)) for skew in Skew}


@pytest.mark.parametrize("num_listens", [1, 999, NUM_LISTENS])
def test_a_log_has_as_many_listens_as_asked_for(tmp_path, num_listens):
    folder = made(tmp_path / "log", num_listens=num_listens)
    files = sorted(path.name for path in folder.iterdir())
    assert files == [f"listens-{number:05d}-of-00003.parquet" for number in range(3)]
    table = read(folder)
    assert table.num_rows == num_listens
    assert table.schema.equals(LISTEN_SCHEMA)
    for name in ("user_id", "track_id", "timestamp", "ms_played", "skipped"):
        assert table[name].null_count == 0


def test_equal_options_give_equal_files_and_another_seed_another_log(tmp_path):
    first, again, other = (
        made(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for path in first.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
        assert path.read_bytes() != (other / path.name).read_bytes()


def test_a_log_that_is_there_is_left_and_one_of_other_options_is_replaced(tmp_path):
    folder = made(tmp_path / "log")
    before = (folder / "listens-00000-of-00003.parquet").stat().st_mtime_ns
    made(tmp_path / "log")
    assert (folder / "listens-00000-of-00003.parquet").stat().st_mtime_ns == before
    made(tmp_path / "log", num_files=1)
    assert [path.name for path in folder.iterdir()] == ["listens-00000-of-00001.parquet"]


def test_users_and_tracks_have_ids_and_a_heavy_tail(logs):
    table = logs[Skew.BALANCED]
    assert len(table["user_id"].unique()) == NUM_LISTENS // 500
    assert set(map(len, table["user_id"].unique().to_pylist())) == {len("spotify:user:") + 22}
    assert all(track.startswith("spotify:track:") for track in table["track_id"].to_pylist())
    users, tracks = shares(table["user_id"]), shares(table["track_id"])
    assert users[: len(users) // 10].sum() > 0.3
    assert tracks[: len(tracks) // 10].sum() > 0.3
    # Nobody has so much that it would be a skewed log.
    assert users[0] < 40 / len(users)
    assert tracks[0] < 0.05


def test_one_user_has_three_tenths_of_the_listens_in_sessions_like_the_others(logs):
    table = logs[Skew.ONE_USER]
    users = shares(table["user_id"])
    assert users[0] == pytest.approx(0.3, abs=0.001)
    assert users[1] < 0.1
    counts = table["user_id"].value_counts()
    hot = counts.field("values")[int(np.argmax(counts.field("counts").to_numpy()))]
    is_hot = pa.compute.equal(table["user_id"], hot)
    for mask in (is_hot, pa.compute.invert(is_hot)):
        own = table.filter(mask).sort_by([("user_id", "ascending"), ("timestamp", "ascending")])
        gaps = np.diff(own["timestamp"].to_numpy()) - own["ms_played"].to_numpy()[:-1] // 1000
        assert (gaps >= 20 * 60).mean() == pytest.approx(0.1, abs=0.02)


def test_one_track_has_a_third_of_the_listens(logs):
    tracks = shares(logs[Skew.ONE_TRACK]["track_id"])
    assert tracks[0] == pytest.approx(1 / 3, abs=0.04)
    assert tracks[1] < 0.03
    assert shares(logs[Skew.ONE_TRACK]["user_id"])[0] < 0.3


def test_one_user_of_a_log_of_thirty_million_begins_after_1970(tmp_path):
    with pytest.raises(UserError, match="num_listens=30000001 must be from 1 to 30,000,000"):
        LogConfig(num_listens=30_000_001, skew=Skew.ONE_USER)
    LogConfig(num_listens=30_000_001)


def test_rows_stand_in_no_order(logs):
    """Neither between files nor within: places of a user's rows are spread evenly."""
    for table in logs.values():
        codes = table["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        rows = np.flatnonzero(codes == np.bincount(codes).argmax())
        quarters = np.histogram(rows, bins=12, range=(0, len(codes)))[0] / len(rows)
        assert quarters == pytest.approx(1 / 12, abs=0.03)
        times = table["timestamp"].to_numpy()
        assert abs(np.corrcoef(times[:-1], times[1:])[0, 1]) < 0.05


def test_row_groups_are_bounded(tmp_path, monkeypatch):
    """Of a log of many blocks and buckets: the sizes are made small here."""
    monkeypatch.setattr("benchmarks.logs.ROWS_PER_ROW_GROUP", 500)
    monkeypatch.setattr("benchmarks.logs._ROWS_PER_BLOCK", 1_000)
    folder = made(tmp_path / "log")
    sizes = [
        metadata.row_group(group).num_rows
        for metadata in map(pq.read_metadata, folder.iterdir())
        for group in range(metadata.num_row_groups)
    ]
    assert sum(sizes) == NUM_LISTENS
    assert max(sizes) <= 500
    assert len(sizes) < 1.5 * NUM_LISTENS / 500
    assert ROWS_PER_ROW_GROUP <= 2**20


def test_times_fit_into_the_log(logs):
    for skew, table in logs.items():
        times = table["timestamp"].to_numpy()
        last = 1_554_076_800 + 61 * 86_400
        assert last - 86_400 < times.max() < last + 86_400
        if skew is not Skew.ONE_USER:
            assert times.min() >= 1_554_076_800
        # Some in the training split, some after it.
        assert 0.3 < (times < last - 19 * 86_400).mean() < 0.9
