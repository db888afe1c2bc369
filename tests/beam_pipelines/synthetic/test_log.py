"""The files of a log: what is in them, that they are the same twice, and what is refused."""

import dataclasses
import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.synthetic import SyntheticConfig, synthesize
from cosernn_tf.errors import UserError
from cosernn_tf.schema import DEVICES, LISTEN_SCHEMA, USER_SCHEMA

from ..files import files_of

SMALL = SyntheticConfig(num_users=12, num_tracks=2_000, num_days=4, seed=5)


def write(directory: Path, config: SyntheticConfig = SMALL, **changes: int) -> Path:
    synthesize(dataclasses.replace(config, **changes), directory, progress=False)
    return directory


def listens(directory: Path) -> pa.Table:
    return pq.read_table(directory / "listens")


# Contents -----------------------------------------------------------------------------------------


def test_files_of_a_log(log_directory: Path):
    assert sorted(files_of(log_directory)) == [
        "_SUCCESS",
        *(f"listens/listens-{number:05d}-of-00004.parquet" for number in range(4)),
        "log.json",
        "playlists.jsonl.gz",
        "users.parquet",
    ]


def test_listens_are_canonical(log_directory: Path):
    for path in (log_directory / "listens").iterdir():
        assert pq.read_schema(path).remove_metadata() == LISTEN_SCHEMA
    table = listens(log_directory)
    assert all(table[name].null_count == 0 for name in table.column_names)
    assert set(table["device"].unique().to_pylist()) <= set(DEVICES) - {"unknown", "other"}
    assert len(table["stream_source"].unique()) == 8
    # Files are in the order of users and time, and no user starts two listens at once.
    user = table["user_id"].to_numpy().astype(str)
    time = table["timestamp"].to_numpy()
    assert np.all((user[1:] > user[:-1]) | ((user[1:] == user[:-1]) & (np.diff(time) > 0)))


def test_listens_agree_with_themselves(log_directory: Path):
    table = listens(log_directory)
    played, skipped = table["ms_played"].to_numpy(), table["skipped"].to_numpy()
    # Decision 2: whoever infers the flag from the time gets the same.
    np.testing.assert_array_equal(skipped, played < 30_000)
    assert played.min() >= 1_000
    assert np.all(played <= table["track_duration_ms"].to_numpy())
    # A user stays in a time zone, a track has one length.
    for of, constant in (("user_id", "utc_offset_minutes"), ("track_id", "track_duration_ms")):
        values = table.group_by(of).aggregate([(constant, "count_distinct")])
        assert set(values[f"{constant}_count_distinct"].to_pylist()) == {1}


def test_users_are_those_of_the_listens_with_ages(log_directory: Path):
    table = pq.read_table(log_directory / "users.parquet")
    assert table.schema.remove_metadata() == USER_SCHEMA
    ids = table["user_id"].to_pylist()
    assert len(set(ids)) == len(ids) == 400
    assert set(ids) == set(listens(log_directory)["user_id"].unique().to_pylist())
    ages = np.array([age for age in table["age"].to_pylist() if age is not None])
    assert 0.05 < 1 - len(ages) / len(ids) < 0.25
    assert 14 <= ages.min() < 18
    assert 60 < ages.max() <= 85


def test_playlists_hold_every_track_once_and_cover_the_log(log_directory: Path):
    with gzip.open(log_directory / "playlists.jsonl.gz", "rt") as lines:
        playlists = [json.loads(line) for line in lines]
    assert len({playlist["playlist_id"] for playlist in playlists}) == len(playlists) == 12_000
    assert all(len(set(p["track_ids"])) == len(p["track_ids"]) > 5 for p in playlists)
    listed = {track for playlist in playlists for track in playlist["track_ids"]}
    heard = set(listens(log_directory)["track_id"].unique().to_pylist())
    assert len(heard - listed) < 0.005 * len(heard)


def test_the_summary_says_what_the_log_is_for(log_directory: Path):
    summary = json.loads((log_directory / "log.json").read_text())
    assert "never with the numbers of the paper" in summary["purpose"]
    assert summary["options"] == dataclasses.asdict(SyntheticConfig())
    assert summary["counts"]["skipped"] == sum(listens(log_directory)["skipped"].to_pylist())


# Determinism --------------------------------------------------------------------------------------


def test_equal_options_give_equal_bytes(tmp_path: Path):
    first, second = write(tmp_path / "first"), write(tmp_path / "second")
    assert files_of(first) == files_of(second)


def test_another_seed_gives_another_world(tmp_path: Path):
    first, second = files_of(write(tmp_path / "1")), files_of(write(tmp_path / "2", seed=6))
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] == second[name]] == ["_SUCCESS"]


def test_a_user_is_the_same_whatever_the_number_of_users(tmp_path: Path):
    few, many = write(tmp_path / "few"), write(tmp_path / "many", num_users=130)
    some = listens(few)
    assert listens(many).slice(0, len(some)).equals(some)
    assert len(listens(many)) > 5 * len(some)
    users = [pq.read_table(directory / "users.parquet") for directory in (few, many)]
    assert users[1].slice(0, SMALL.num_users).equals(users[0])
    playlists = [directory / "playlists.jsonl.gz" for directory in (few, many)]
    assert playlists[0].read_bytes() == playlists[1].read_bytes()


# Size ---------------------------------------------------------------------------------------------


def test_the_smallest_log_is_one(tmp_path: Path):
    log = write(tmp_path / "log", num_users=1, num_days=1, num_tracks=2_000)
    table = listens(log)
    assert set(table["user_id"].to_pylist()) == {"u0000000"}
    assert len(table) > 0


def test_memory_does_not_grow_with_the_users(tmp_path: Path):
    config = dataclasses.replace(SMALL, num_days=30)

    def peak(users: int) -> int:
        tracemalloc.start()
        try:
            write(tmp_path / str(users), config, num_users=users)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # what is imported and cached once is not the log's
    few, many = peak(40), peak(160)
    extra = len(listens(tmp_path / "160")) - len(listens(tmp_path / "40"))
    # NumPy holds 41 bytes a listen until it is written: a log kept to its end would add them all.
    assert many - few < 0.2 * 41 * extra


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("num_users", 0),
        ("num_users", -3),
        ("num_users", 10**9),
        ("num_tracks", 1_999),
        ("num_tracks", 10**8),
        ("num_days", 0),
        ("num_days", 10_000),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: int):
    with pytest.raises(UserError, match=rf"^--{option}={value}: must be from \d+ to \d+$"):
        SyntheticConfig(**{option: value})


def test_a_log_of_the_same_options_is_left_as_it_is(tmp_path: Path):
    log = write(tmp_path / "log")
    times = {path: path.stat().st_mtime_ns for path in log.rglob("*")}
    summary = synthesize(SMALL, log, progress=False, overwrite=True)
    assert summary == json.loads((log / "log.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in log.rglob("*")} == times


def test_a_log_of_other_options_is_refused_unless_it_is_to_be_replaced(tmp_path: Path):
    log = write(tmp_path / "log", num_users=120)
    before = files_of(log)
    with pytest.raises(UserError, match=r"log of other options .*--num_users=120.*--overwrite"):
        write(log)
    assert files_of(log) == before
    synthesize(SMALL, log, progress=False, overwrite=True)
    # Nothing of the older log stays: it had two files of listens.
    assert files_of(log) == files_of(write(tmp_path / "fresh"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_log_of_another_version_is_refused(tmp_path: Path):
    log = write(tmp_path / "log")
    summary = json.loads((log / "log.json").read_text())
    (log / "log.json").write_text(json.dumps(summary | {"generator_version": 1}))
    with pytest.raises(UserError, match="generator version 1"):
        write(log)


@pytest.mark.parametrize("name", ["_SUCCESS", "log.json"])
def test_what_is_not_a_finished_log_is_never_replaced(tmp_path: Path, name: str):
    log = write(tmp_path / "log")
    (log / name).unlink()
    before = files_of(log)
    with pytest.raises(UserError, match=f"is not a log of this program .*{name}"):
        synthesize(SMALL, log, progress=False, overwrite=True)
    assert files_of(log) == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(UserError, match=r"file/log cannot be written .*Not a directory"):
        write(tmp_path / "file" / "log")


def test_a_run_that_fails_leaves_the_older_log_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = write(tmp_path / "log")
    before = files_of(log)

    def full_disk(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("beam_pipelines.synthetic.log.write_playlists", full_disk)
    with pytest.raises(UserError, match="the disk is full"):
        synthesize(dataclasses.replace(SMALL, seed=6), log, progress=False, overwrite=True)
    assert files_of(log) == before
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
