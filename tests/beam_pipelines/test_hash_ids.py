"""--hash_ids on the whole job: no raw id is left anywhere, and nothing else changes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from beam_pipelines.rules.hashing import hash_id
from cosernn_tf.config import EmbeddingConfig
from cosernn_tf.dataset import read_all, read_user
from cosernn_tf.embedding import embed_tracks
from cosernn_tf.errors import UserError
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory, open_sessions
from tests.entry_points import run as run_command

from .appending import rejected_of
from .files import write_bytes, write_csv, write_json_lines, write_parquet
from .logs import Row, random_rows
from .traces import Kept, found, unlike

KEY = b"a key of the test, of no other use"
DAY = 86_400


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rows = random_rows(3, users=12, listens=30)
    shift = {row["user_id"]: number * DAY for number, row in enumerate(rows)}
    return [
        {
            **row,
            "user_id": unlike(row["user_id"]),
            "track_id": unlike(row["track_id"]),
            "timestamp": row["timestamp"] + shift[row["user_id"]] % (40 * DAY),
        }
        for row in rows
    ]


@pytest.fixture(scope="module")
def ids(rows) -> dict[str, list[str]]:
    bad = {"user_id": [unlike(f"bad {n}") for n in range(6)], "track_id": [unlike("bad track")]}
    return {column: sorted({row[column] for row in rows}) + bad[column] for column in bad}


@pytest.fixture(scope="module")
def folder(rows, ids, tmp_path_factory) -> Path:
    """A log in three forms, with every kind of bad row, users and a key."""
    root = tmp_path_factory.mktemp("input")
    bad, (track,) = ids["user_id"][-6:], ids["track_id"][-1:]
    third = len(rows) // 3
    write_parquet(root / "log/a.parquet", rows[:third])
    rejected = [
        {**rows[0], "user_id": bad[0], "timestamp": -1},
        {**rows[0], "user_id": bad[0], "track_id": track, "timestamp": "yesterday"},
        {**rows[0], "timestamp": bad[1]},
        {**rows[0], "user_id": None, "device": bad[2], "track_id": bad[2]},
    ]
    path = write_json_lines(root / "log/b.jsonl", [*rows[third : 2 * third], *rejected])
    with path.open("a", encoding="utf-8") as file:
        file.write(f'{{"user_id": "{bad[3]}", "track_id": "{track}", "timestamp": 15540\n')
    path = write_csv(root / "log/c.csv", rows[2 * third :])
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{bad[4]},{track},1554076800\n")
    users = ids["user_id"]
    lines = ["user_id,age", f"{users[0]},31", f"{users[1]},40", f"{bad[5]},9", f"{bad[5]},old"]
    lines += [f",{bad[5]}", f"{bad[5]}", f"{users[3]},{users[2]}"]
    write_bytes(root / "users.csv", "\n".join(lines).encode())
    (root / "ids.key").write_bytes(KEY + b"\n")
    (root / "ids.key").chmod(0o600)
    return root


def config(folder: Path, output: Path, **options) -> SessionizeConfig:
    return SessionizeConfig(
        listens=(str(folder / "log"),),
        users=str(folder / "users.csv"),
        output=output,
        num_shards=3,
        max_bad_fraction=options.pop("max_bad_fraction", 1),
        **options,
    )


def run(folder: Path, output: Path, **options) -> SessionsDirectory:
    sessionize(config(folder, output, **options))
    return open_sessions(output)


@pytest.fixture(scope="module")
def raw(folder, tmp_path_factory) -> SessionsDirectory:
    return run(folder, tmp_path_factory.mktemp("raw") / "sessions")


@pytest.fixture(scope="module")
def hashed(folder, tmp_path_factory) -> SessionsDirectory:
    output = tmp_path_factory.mktemp("hashed") / "sessions"
    return run(folder, output, hash_ids=str(folder / "ids.key"))


# What stays, and what does not -------------------------------------------------------------------


def test_every_user_has_the_same_sequence_under_the_hash(raw, hashed):
    table = read_all(raw)
    assert read_all(hashed).num_users == table.num_users > 0
    for row, user in enumerate(table.user_id):
        own = table.select_users(np.array([row]))
        digest = hash_id(user.decode(), KEY, "user_id")
        assert_equal_but_for_the_id(read_user(hashed, digest), own)
    assert hashed.manifest.counters == raw.manifest.counters
    assert hashed.manifest.vocabularies == raw.manifest.vocabularies
    assert hashed.manifest.split == raw.manifest.split
    assert raw.manifest.counters["users_with_age"] == 2


def assert_equal_but_for_the_id(found: SessionTable, expected: SessionTable) -> None:
    for field in dataclasses.fields(SessionTable):
        if field.name != "user_id":
            values = getattr(found, field.name), getattr(expected, field.name)
            np.testing.assert_array_equal(*values)


def test_tracks_are_hashed_if_asked(folder, raw, tmp_path):
    both = run(
        folder,
        tmp_path / "sessions",
        hash_ids=str(folder / "ids.key"),
        hash_ids_columns=("user_id", "track_id"),
    )
    listens = dict(zip(*raw.tracks.to_pydict().values(), strict=True))
    expected = {hash_id(track, KEY, "track_id"): number for track, number in listens.items()}
    assert dict(zip(*both.tracks.to_pydict().values(), strict=True)) == expected
    assert both.manifest.ids["track_id"] == "hmac-sha256"
    playlist = {"playlist_id": "p", "track_ids": list(listens)}
    path = write_bytes(tmp_path / "p.jsonl", json.dumps(playlist).encode())
    with pytest.raises(UserError, match=r"track ids are hashed, and playlists need the same"):
        embed(both, path, tmp_path / "tracks")


def embed(sessions: SessionsDirectory, playlists: Path, output: Path) -> None:
    config = EmbeddingConfig(min_count=1, epochs=1)
    embed_tracks(sessions, playlists=playlists, output=output, config=config)


@pytest.mark.parametrize("columns", [("user_id",), ("user_id", "track_id"), None])
def test_no_raw_id_is_in_any_byte_that_is_ever_written(
    folder, ids, tmp_path, monkeypatch, capfd, caplog, columns
):
    """Output, temporary files and log; without hashing (None) the same search finds them all."""
    (tmp_path / "kept").mkdir()
    options = {"hash_ids": str(folder / "ids.key"), "hash_ids_columns": columns} if columns else {}
    with caplog.at_level("DEBUG"), monkeypatch.context() as patch:
        Kept(tmp_path / "kept", patch)
        run(folder, tmp_path / "output/sessions", **options)
    (tmp_path / "output/log").write_text(caplog.text + "".join(capfd.readouterr()))
    places = tmp_path / "output", tmp_path / "kept"
    for column in columns or ():
        assert found(ids[column], *places) == {}
    if columns is None:
        assert set(found(ids["user_id"], tmp_path / "output")) == set(ids["user_id"])
        temporary = found(ids["user_id"] + ids["track_id"], tmp_path / "kept")
        assert set(temporary) >= {*ids["user_id"][:-6], *ids["track_id"][:-1]}
    # Neither the key nor where it is.
    key = found([KEY.decode(), KEY.hex(), str(folder / "ids.key")], *places)
    assert key == {}


def test_the_same_key_gives_the_same_bytes_and_another_one_others(folder, hashed, tmp_path):
    again = run(folder, tmp_path / "again", hash_ids=str(folder / "ids.key"))
    assert again.sha256 == hashed.sha256
    manifests = [json.loads((d.path / "manifest.json").read_text()) for d in (again, hashed)]
    outputs = [manifest["options"].pop("output") for manifest in manifests]
    assert outputs == [str(again.path), str(hashed.path)]
    assert manifests[0] == manifests[1]
    (tmp_path / "other.key").write_bytes(KEY[::-1])
    other = run(folder, tmp_path / "other", hash_ids=str(tmp_path / "other.key"))
    assert other.manifest.ids["check"] != hashed.manifest.ids["check"]
    assert set(read_all(other).user_id).isdisjoint(read_all(hashed).user_id)


# What it says of itself --------------------------------------------------------------------------


def test_the_manifest_says_how_ids_are_stored(folder, raw, hashed):
    assert raw.manifest.ids == {"user_id": "raw", "track_id": "raw"}
    assert dict(hashed.manifest.ids) == {
        "user_id": "hmac-sha256",
        "track_id": "raw",
        "label": "cosernn_tf/hash_ids/1",
        "check": hash_id("", KEY, "check")[:16],
    }
    options = hashed.manifest.options
    assert "hash_ids" not in options
    assert (options["listens"], options["users"]) == (None, None)
    assert raw.manifest.options["listens"] == [str(folder / "log")]


def test_rejected_rows_are_kept_without_raw_ids(hashed, ids):
    kept = rejected_of(hashed.path)
    assert [(row["file"], row["reason"]) for row in kept] == [
        *[
            ("file 2 of 3 of --listens", reason)
            for reason in (
                "timestamp_out_of_range",
                "bad_timestamp",
                "bad_timestamp",
                "missing_user_id",
                "malformed",
            )
        ],
        ("file 3 of 3 of --listens", "malformed"),
        ("file 1 of 1 of --users", "users_bad_age"),
        ("file 1 of 1 of --users", "users_missing_user_id"),
        ("file 1 of 1 of --users", "users_malformed"),
        ("file 1 of 1 of --users", "users_bad_age"),
    ]
    bad = ids["user_id"][-6]
    assert json.loads(kept[0]["content"])["user_id"] == hash_id(bad, KEY, "user_id")
    assert json.loads(kept[0]["content"])["timestamp"] == -1
    malformed = [row for row in kept if row["reason"].endswith("malformed")]
    assert all(row["content"] is None and row["length"] >= 24 for row in malformed)


def test_a_raw_id_asked_for_is_refused_without_being_repeated(hashed, ids):
    with pytest.raises(UserError, match=r"whose user ids are hashed.*WORKSPACE.md") as error:
        read_user(hashed, ids["user_id"][0])
    assert ids["user_id"][0] not in str(error.value)


# Users in the names of folders -------------------------------------------------------------------


def test_folders_that_are_users_are_named_nowhere(tmp_path, monkeypatch, caplog, capfd):
    """A Spotify export: a folder a user; files without listens and a damaged one among them."""
    users = [unlike("ada"), unlike("bob")]
    play = {"ts": "2019-04-01T10:00:00Z", "ms_played": 1000, "spotify_track_uri": "spotify:track:x"}
    for user in users:
        folder = tmp_path / "exports" / user
        folder.mkdir(parents=True)
        episode = {**play, "spotify_track_uri": None, "episode_name": user}
        (folder / "Streaming_History_Audio_2019.json").write_text(json.dumps([play, episode, 1]))
        (folder / "Userdata.json").write_text(json.dumps({"username": user}))
    (tmp_path / "ids.key").write_bytes(KEY)
    options = SessionizeConfig(
        listens=(str(tmp_path / "exports"),),
        listens_format="spotify",
        output=tmp_path / "output/sessions",
        num_shards=1,
        max_bad_fraction=1,
        hash_ids=str(tmp_path / "ids.key"),
    )
    with caplog.at_level("DEBUG"):
        sessionize(options)
    (tmp_path / "output/log").write_text(caplog.text + "".join(capfd.readouterr()))
    assert found(users, tmp_path / "output") == {}
    sessions = open_sessions(options.output)
    hashes = sorted(hash_id(user, KEY, "user_id").encode() for user in users)
    assert sorted(read_all(sessions).user_id) == hashes
    assert "file 2 of 4 of --listens has no listens" in caplog.text

    newer = tmp_path / "newer" / users[0] / "Streaming_History_Audio_2020.json"
    newer.parent.mkdir(parents=True)
    newer.write_text(json.dumps([{**play, "ts": "2020-01-01T10:00:00Z"}, 1]))
    (tmp_path / "kept").mkdir()
    append = dataclasses.replace(options, listens=(str(newer.parent.parent),), append=True)
    with monkeypatch.context() as patch:
        Kept(tmp_path / "kept", patch)
        sessionize(append)
    assert len(list((tmp_path / "kept").rglob("*"))) > 3
    assert found(users, tmp_path / "output", tmp_path / "kept") == {}
    assert open_sessions(options.output).manifest.counters["kept"] == 3

    path = tmp_path / "exports" / users[0] / "Streaming_History_Audio_2019.json"
    path.write_text('[{"ts": 1}')
    with pytest.raises(UserError, match=r"^file \d of 4 of --listens is damaged") as error:
        sessionize(options)
    assert users[0] not in str(error.value)


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hash_ids": "nowhere"}, "--hash_ids=nowhere is no file"),
        ({"hash_ids": ""}, "--hash_ids= is no file"),
        ({"hash_ids": "short.key"}, "too few for a key"),
        ({"hash_ids": "k", "hash_ids_columns": ("device",)}, "--hash_ids_columns=device must be"),
        ({"hash_ids": "k", "hash_ids_columns": ()}, "--hash_ids_columns= must be"),
        ({"hash_ids": "k", "hash_ids_columns": ("user_id",) * 2}, "must be some of"),
        ({"hash_ids_columns": ("track_id",)}, "does nothing without --hash_ids"),
        ({"hash_ids": "output/sessions/ids.key"}, "which is replaced as a whole"),
    ],
)
def test_what_cannot_be_is_refused(folder, tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.key").write_bytes(b"short")
    with pytest.raises(UserError, match=text):
        sessionize(config(folder, Path("output/sessions"), **options))
    assert not (tmp_path / "output").exists()


def test_errors_quote_no_row(tmp_path):
    (tmp_path / "ids.key").write_bytes(KEY)
    user = unlike("somebody")
    no_header = f"{user},t,1554076800\n"
    all_bad = f"user_id,track_id,timestamp\n{user},t,-1\n{user},,{user}\n"
    log, users = tmp_path / "log.csv", tmp_path / "users.csv"
    users.write_text(f"{user},30\n")
    for content, users_file, limit, text in (
        (no_header, None, 1, "has none of the columns"),
        (all_bad, None, 1, "all 2 rows of .* were rejected.*file 1 of 1"),
        (all_bad, None, 0, "2 of 2 rows of .* are bad.*file 1 of 1"),
        (all_bad, str(users), 1, "has no column user_id, age"),
    ):
        log.write_text(content)
        with pytest.raises(UserError, match=text) as error:
            sessionize(
                SessionizeConfig(
                    listens=(str(log),),
                    output=tmp_path / "sessions",
                    hash_ids=str(tmp_path / "ids.key"),
                    users=users_file,
                    max_bad_fraction=limit,
                )
            )
        assert user not in str(error.value)


def test_the_command(folder, ids, hashed, tmp_path):
    result = run_command(
        "beam_pipelines.sessionize",
        [
            f"--listens={folder / 'log'}",
            f"--users={folder / 'users.csv'}",
            f"--hash_ids={folder / 'ids.key'}",
            "--num_shards=3",
            "--max_bad_fraction=1",
        ],
        folder=tmp_path,
    )
    assert result.code == 0, result.stderr
    assert not any(id in result.stdout + result.stderr for id in ids["user_id"])
    assert "Rejected rows are in" in result.stderr
    assert open_sessions(tmp_path / "workspace/sessions").sha256 == hashed.sha256
    assert pq.read_table(tmp_path / "workspace/sessions/vocabulary/tracks.parquet").num_rows
