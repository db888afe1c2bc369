"""The whole job on real files, as a user runs it, against the row-by-row oracle."""

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from cosernn_tf.dataset import read_all, read_user
from cosernn_tf.errors import UserError
from cosernn_tf.schema import DEVICES, MAX_TRACKS_PER_SESSION, SESSION_FEATURES, Per
from cosernn_tf.sessions import shard_of
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory, open_sessions
from tests.entry_points import Result, run_each
from tests.entry_points import run as run_command

from .files import files_of, write_bytes, write_csv, write_json_lines, write_parquet
from .logs import Row, random_rows, sessions_of

DAY = 86_400


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Enough days for three splits: the oracle's users spread over forty days."""
    rng = random.Random(5)
    rows = random_rows(3, users=30, listens=50)
    shift = {row["user_id"]: rng.randrange(40) * DAY for row in rows}
    return [{**row, "timestamp": row["timestamp"] + shift[row["user_id"]]} for row in rows]


def run(path: Path, listens: list[Path], **options) -> SessionsDirectory:
    config = SessionizeConfig(
        listens=tuple(map(str, listens)),
        output=path,
        num_shards=options.pop("num_shards", 4),
        **options,
    )
    sessionize(config)
    return open_sessions(path)


def content(directory: SessionsDirectory) -> dict[str, bytes]:
    """All that must not depend on the form of the log."""
    return files_of(directory.path, without=("manifest.json", "inputs.json"))


@pytest.fixture(scope="module")
def directory(rows, tmp_path_factory) -> SessionsDirectory:
    root = tmp_path_factory.mktemp("whole")
    return run(root / "sessions", [write_parquet(root / "log.parquet", rows)])


def test_records_equal_the_oracle(directory, rows):
    expected = sessions_of(rows)
    table = read_all(directory)
    track_ids = directory.tracks["track_id"].to_pylist()
    assert sorted(user.decode() for user in table.user_id) == sorted(expected)
    assert sum(map(len, expected.values())) == table.num_sessions
    for user, user_id in enumerate(table.user_id):
        own = range(*table.row_splits[user : user + 2])
        for row, session in zip(own, expected[user_id.decode()], strict=True):
            assert table.session_start[row] == session.start
            assert table.day_of_week[row] == session.day_of_week
            assert table.hour[row] == session.hour
            assert DEVICES[table.device[row]] == session.device
            assert table.seconds_since_last[row] == session.seconds_since_last
            assert table.num_tracks[row] == len(session.tracks)
            kept = [track_ids[track] for track in table.track[row] if track >= 0]
            assert kept == session.tracks[:MAX_TRACKS_PER_SESSION]
            flags = [bool(skip) for skip in table.skipped[row] if skip >= 0]
            assert flags == session.skipped[:MAX_TRACKS_PER_SESSION]
            # All sources of this log occur in training, so that all have a row.
            source = directory.stream_sources[table.stream_source[row]]
            assert source == (session.stream_source or "unknown")


def test_split_and_vocabularies_equal_the_oracle(directory, rows):
    last = max(row["timestamp"] for row in rows)
    split = directory.manifest.split
    assert split.test_start == last - 14 * DAY
    assert split.validation_start == last - 19 * DAY
    sessions = [session for own in sessions_of(rows).values() for session in own]
    in_training = [session for session in sessions if session.start < split.validation_start]
    assert 0 < len(in_training) < len(sessions)
    counts = {track: 0 for session in sessions for track in session.tracks}
    for session in in_training:
        for track in session.tracks:
            counts[track] += 1
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    found = directory.tracks.to_pylist()
    assert [(row["track_id"], row["train_listens"]) for row in found] == expected
    assert directory.devices == DEVICES
    assert directory.stream_sources[0] == "unknown"
    assert sorted(directory.stream_sources[1:]) == ["charts", "radio", "user playlist"]


def test_counters_add_up(directory, rows):
    counters = directory.manifest.counters
    keys = {(row["user_id"], row["timestamp"], row["track_id"]) for row in rows}
    assert counters["read"] == len(rows)
    assert counters["kept"] == len(keys)
    assert counters["duplicates"] == len(rows) - len(keys)
    sessions = [session for own in sessions_of(rows).values() for session in own]
    assert counters["sessions"] == len(sessions)
    rules = {name: number for name, number in counters.items() if name.startswith("skipped_")}
    assert sum(rules.values()) == len(keys)
    assert min(rules.values()) > 0
    listed = directory.manifest.shards
    assert sum(shard.users for shard in listed) == counters["users"] == len(sessions_of(rows))
    assert sum(shard.sessions for shard in listed) == counters["sessions"]


def test_any_form_and_any_order_of_the_log_gives_the_same_bytes(directory, rows, tmp_path):
    shuffled = list(rows)
    random.Random(1).shuffle(shuffled)
    third = len(rows) // 3
    write_csv(tmp_path / "log/a.csv.gz", shuffled[:third])
    write_json_lines(tmp_path / "log/deep/b.jsonl.zst", shuffled[third : 2 * third])
    write_parquet(tmp_path / "log/c.parquet", shuffled[2 * third :], row_group_size=7)
    (tmp_path / "log/empty.csv").touch()
    (tmp_path / "log/README.txt").write_text("no listens")
    again = run(tmp_path / "sessions", [tmp_path / "log"])
    assert content(again) == content(directory)
    assert again.manifest.split == directory.manifest.split
    assert again.manifest.counters == directory.manifest.counters
    assert again.sha256 == directory.sha256


def test_users_are_in_their_shards_in_order(directory):
    table = read_all(directory)
    shards = shard_of(table.user_id, 4)
    assert (np.diff(shards) >= 0).all()
    for shard in range(4):
        users = table.user_id[shards == shard].tolist()
        assert users == sorted(users)
    user = table.user_id[7].decode()
    assert read_user(directory, user).user_id.tolist() == [user.encode()]
    with pytest.raises(UserError, match="nobody"):
        read_user(directory, "nobody")


def test_a_run_with_fewer_shards_leaves_no_stale_one(rows, tmp_path):
    log = write_parquet(tmp_path / "log.parquet", rows[:200])
    many = read_all(run(tmp_path / "sessions", [log], num_shards=7))
    few = run(tmp_path / "sessions", [log], num_shards=2)
    names = sorted(path.name for path in few.path.glob("sessions-users*"))
    assert names == [f"sessions-users.tfrecord-0000{n}-of-00002" for n in range(2)]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert sorted_by_user(read_all(few)) == sorted_by_user(many)


def sorted_by_user(table: SessionTable) -> list[tuple[bytes, list[int]]]:
    starts = np.split(table.session_start, table.row_splits[1:-1])
    return sorted(zip(table.user_id.tolist(), (own.tolist() for own in starts), strict=True))


def test_what_is_not_in_training_is_not_in_the_vocabulary_of_sources(rows, tmp_path):
    last = max(row["timestamp"] for row in rows)
    new = {**rows[0], "timestamp": last, "stream_source": "brand new", "track_id": "brand new"}
    directory = run(tmp_path / "sessions", [write_parquet(tmp_path / "l.parquet", [*rows, new])])
    assert "brand new" not in directory.stream_sources
    assert directory.tracks.to_pylist()[-1]["train_listens"] == 0
    assert "brand new" in directory.tracks["track_id"].to_pylist()


def test_min_track_listens_cuts_tracks_and_says_so_in_the_records(directory, rows, tmp_path):
    listens = np.sort(directory.tracks["train_listens"].to_numpy())
    least = int(listens[len(listens) // 2])
    log = write_parquet(tmp_path / "log.parquet", rows)
    cut = run(tmp_path / "sessions", [log], min_track_listens=least, max_stream_sources=1)
    assert cut.tracks["train_listens"].to_numpy().min() >= least
    assert cut.tracks.num_rows < directory.tracks.num_rows
    full, part = read_all(directory), read_all(cut)
    kept = full.track < cut.tracks.num_rows
    np.testing.assert_array_equal(part.track, np.where(kept, full.track, -2))
    assert len(cut.stream_sources) == 2
    assert (part.stream_source[full.stream_source > 1] == 0).all()


def test_ages_come_from_the_users_file(rows, tmp_path):
    users = sorted({row["user_id"] for row in rows})
    lines = ["user_id,age", f"{users[0]},31", f"{users[1]},", f"{users[2]},-4", "stranger,50"]
    lines += [f"{users[3]},20", f"{users[3]},44", ",12"]
    log = write_parquet(tmp_path / "log.parquet", rows)
    path = write_bytes(tmp_path / "users.csv", "\n".join(lines).encode())
    directory = run(tmp_path / "sessions", [log], users=str(path), max_bad_fraction=1)
    ages = {
        user.decode(): age
        for user, age in zip(
            *(getattr(read_all(directory), n) for n in ("user_id", "user_age")), strict=True
        )
    }
    assert [ages[user] for user in users[:5]] == [31, -1, -1, 44, -1]
    counters = directory.manifest.counters
    assert counters["users_read"] == 7
    assert counters["users_with_age"] == 2
    assert counters["users_duplicates"] == 1
    assert counters["users_without_listens"] == 1
    assert counters["rejected_users_bad_age"] == 1
    assert counters["rejected_users_missing_user_id"] == 1
    assert counters["read"] == counters["kept"] + counters["duplicates"]


def test_rejected_rows_are_counted_and_kept_aside(rows, tmp_path):
    good = rows[:50]
    bad: list[tuple[str, dict[str, object]]] = [
        ("missing_user_id", {"user_id": ""}),
        ("missing_track_id", {"track_id": None}),
        ("missing_timestamp", {"timestamp": None}),
        ("bad_timestamp", {"timestamp": "yesterday"}),
        ("timestamp_out_of_range", {"timestamp": 1_554_076_800_000}),
        ("timestamp_out_of_range", {"timestamp": -1}),
        ("negative_ms_played", {"ms_played": -5}),
        ("bad_ms_played", {"ms_played": "long"}),
        ("bad_skipped", {"skipped": "perhaps"}),
        ("utc_offset_minutes_out_of_range", {"utc_offset_minutes": 5_000}),
        ("negative_track_duration_ms", {"track_duration_ms": -1}),
    ]
    mixed = [*good[:10], *[{**good[0], **change} for _, change in bad], *good[10:]]
    log = write_json_lines(tmp_path / "log.jsonl", mixed)
    with log.open("a", encoding="utf-8") as file:
        file.write("{not json\n")
    directory = run(tmp_path / "sessions", [log], max_bad_fraction=0.2)
    counters = directory.manifest.counters
    rejected = {n.removeprefix("rejected_"): c for n, c in counters.items() if "rejected_" in n}
    expected = {reason: [r for r, _ in bad].count(reason) for reason, _ in bad}
    assert rejected == {**expected, "malformed": 1}
    assert counters["read"] == len(mixed) + 1
    assert counters["read"] == counters["kept"] + counters["duplicates"] + sum(rejected.values())
    (path,) = directory.path.glob("rejected.jsonl*")
    kept = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(row["row"], row["reason"]) for row in kept] == [
        *((11 + place, reason) for place, (reason, _) in enumerate(bad)),
        (len(mixed) + 1, "malformed"),
    ]
    assert {row["file"] for row in kept} == {str(log)}
    assert "1554076800000" in kept[4]["content"]
    expected_table = run(tmp_path / "good", [write_parquet(tmp_path / "g.parquet", good)])
    assert sorted_by_user(read_all(directory)) == sorted_by_user(read_all(expected_table))


def test_tensorflow_datasets_opens_it(directory):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(directory.path))
    table = read_all(directory)
    assert builder.info.splits["users"].num_examples == table.num_users
    found = {example["user_id"]: example for example in tfds.as_numpy(builder.as_dataset("users"))}
    assert set(found) == set(table.user_id.tolist())
    for user, user_id in enumerate(table.user_id):
        own = slice(*table.row_splits[user : user + 2])
        assert set(found[user_id]) == {feature.name for feature in SESSION_FEATURES}
        for feature in SESSION_FEATURES:
            rows = user if feature.per is Per.USER else own
            expected = getattr(table, feature.name)[rows]
            np.testing.assert_array_equal(found[user_id][feature.name], expected)


def test_a_log_of_one_listen(tmp_path):
    row = {"user_id": "u", "track_id": "t", "timestamp": 1_554_076_800}
    directory = run(tmp_path / "sessions", [write_csv(tmp_path / "log.csv", [row])], num_shards=3)
    table = read_all(directory)
    assert table.num_sessions == 1
    assert directory.manifest.first_timestamp == directory.manifest.last_timestamp == 1_554_076_800
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(directory.path))
    assert len(list(tfds.as_numpy(builder.as_dataset("users")))) == 1


# As a user runs it -------------------------------------------------------------------------------

# Files that cannot be read are in test_bad_files.py.
BAD_INPUT = [
    (["--listens=nowhere.parquet"], "nowhere.parquet does not exist"),
    (["--listens=nothing-*.csv"], "does not exist"),
    (["--listens=header.csv"], "has no rows"),
    (["--listens=empty_folder"], "has no file"),
    (["--listens=milliseconds.csv"], "2 of 2 rows"),
    (["--listens=milliseconds.csv", "--max_bad_fraction=1"], "all 2 rows"),
    (
        ["--listens=good.csv", "--max_bad_fraction=nan"],
        "--max_bad_fraction=nan must be from 0 to 1",
    ),
    (["--listens=milliseconds.csv"], "not milliseconds"),
    (["--listens=good.csv", "--users=torn_users.parquet"], "torn_users.parquet is damaged"),
    (["--listens=good.csv", "--listens_format=spotfy"], "listens_format"),
    (["--listens=good.csv", "--num_shards=0"], "--num_shards=0"),
    (["--listens=good.csv", "--test_days=-1"], "--test_days=-1"),
    (["--listens=good.csv", "--max_memory_mb=99"], "--max_memory_mb=99 is too little"),
    (["--listens=good.csv", "--users=nobody.csv"], "nobody.csv does not exist"),
    (["--listens=good.csv", "--users=good.csv"], "no column age"),
    (["--listens=good.csv", "--num_shard=3"], "unknown flag --num_shard=3"),
    (["--listens=good.csv", "--runner=NoRunner"], "NoRunner"),
    (["--listens=good.csv", "extra"], "extra"),
]


@pytest.fixture(scope="module")
def bad_folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("bad")
    good = "user_id,track_id,timestamp\nu,t,1554076800\nu,v,1554076860\n"
    (root / "good.csv").write_text(good)
    (root / "header.csv").write_text("user_id,track_id,timestamp\n")
    (root / "empty_folder").mkdir()
    (root / "milliseconds.csv").write_text(good.replace("15540768", "15540768000"))
    users = pa.table({"user_id": [f"u{n}" for n in range(5000)], "age": [30] * 5000})
    pq.write_table(users, root / "torn_users.parquet")
    data = (root / "torn_users.parquet").read_bytes()
    (root / "torn_users.parquet").write_bytes(data[:4] + b"\xff" * 196 + data[200:])
    return root


@pytest.fixture(scope="module")
def older(bad_folder) -> dict[str, bytes]:
    """An older output, which no bad input may touch."""
    return content(run(bad_folder / "workspace/sessions", [bad_folder / "good.csv"], num_shards=1))


@pytest.fixture(scope="module")
def refusals(bad_folder, older, tmp_path_factory) -> dict[str, Result]:
    calls = {" ".join(arguments): arguments for arguments, _ in BAD_INPUT}
    results = run_each(
        "beam_pipelines.sessionize",
        list(calls.values()),
        folder=bad_folder,
        output=tmp_path_factory.mktemp("printed") / "calls",
        preload=["beam_pipelines.job"],
    )
    assert content(open_sessions(bad_folder / "workspace/sessions")) == older
    assert [path.name for path in (bad_folder / "workspace").iterdir()] == ["sessions"]
    return dict(zip(calls, results, strict=True))


@pytest.mark.parametrize(("arguments", "text"), BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_the_older_output(refusals, arguments, text):
    result = refusals[" ".join(arguments)]
    assert result.code == 2, result.stderr
    assert text in result.error
    if "bad_fraction" in result.error:  # it is known before anything is sequenced
        assert "Wrote" not in result.stderr


def test_the_default_log_is_made_on_first_use(tmp_path):
    """The exact command of the README, from an empty folder, and again."""
    result = run_command("beam_pipelines.sessionize", ["--runner=DirectRunner"], folder=tmp_path)
    assert result.code == 0, result.stderr
    assert "embedded default log" in result.stderr
    directory = open_sessions(tmp_path / "workspace/sessions")
    log = pq.read_table(tmp_path / "workspace/log/listens")
    assert directory.manifest.counters["kept"] == log.num_rows
    assert directory.manifest.counters["users_with_age"] > 0
    before = content(directory)
    result = run_command("beam_pipelines.sessionize", [], folder=tmp_path)
    assert result.code == 0, result.stderr
    assert content(open_sessions(tmp_path / "workspace/sessions")) == before
