"""Ids are opaque: whatever they hold, they name no file, break no file, and stay what they are."""

import csv
import decimal
import io
import json
import random
import re
import unicodedata
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines import sources
from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from beam_pipelines.rules.checks import MAX_TEXT_BYTES, check_listens
from cosernn_tf.dataset import read_all, read_user
from cosernn_tf.errors import UserError, on_a_line
from cosernn_tf.retrieval.index import build_index
from cosernn_tf.runs import INDEX
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.workspace import SessionsDirectory, Workspace, from_lines, open_sessions, to_lines
from tests.cosernn_tf.retrieval.runs import write_run
from tests.entry_points import run_each
from tests.workspaces import write_tracks

from .files import write_bytes, write_json_lines, write_parquet
from .logs import Row, sessions_of
from .sources.reading import clean_rows, picked, read, rejected

START = 1_554_076_800
SOURCE = sources.create("canonical")
BAD, MISSING = "bad_user_id", "missing_user_id"

IDS = (
    *(
        "anna",
        "Anna",
        " anna",
        "anna ",
        "anna\t",
        "an na",
        "an  na",
        "an\u00a0na",
        "an,na",
        "an;na",
    ),
    *(
        "an\nna",
        "an\r\nna",
        "an\rna",
        "\n",
        "an\\nna",
        "an\\na",
        'an"na',
        '"anna"',
        "an'na",
        "an''na",
    ),
    *("../../../../tmp/anna", "/tmp/anna", "..", ".", "/", "\\", "~", "-", "--user=anna", "$HOME"),
    *("\0", "anna\0", "anna\0\0", "\0anna", "\x1b[31manna", "\x7f", "\ufeffanna", "an\u2028na"),
    *(
        "an\u0085na",
        "an\u202ena",
        "%00",
        "%2e%2e%2f",
        "{anna}",
        "<b>anna</b>",
        "| anna |",
        "`anna`",
    ),
    *(
        "\u00e9",
        "e\u0301",
        "\u1e69",
        "s\u0323\u0307",
        "s\u0307\u0323",
        "\ufb01",
        "fi",
        "🎧",
        "👩‍🎤",
    ),
    *("ß", "ss", "ẞ", "İ", "i", "ı", "007", "7", "07", "+7", "7.0", "7e0", "7 ", "1e3", "1000"),
    *(
        "NaN",
        "nan",
        "null",
        "NULL",
        "None",
        "true",
        "unknown",
        "-1",
        "-2",
        "0",
        "inf",
        "N/A",
        "#N/A",
    ),
    *("x" * 4096, "x" * 4095 + "y", "é" * 2048, "🎧" * (MAX_TEXT_BYTES // 4)),
)
SOURCES = (
    *(None, "a show", "a\nshow", "a\rshow", "a\\nshow", "a\\\nshow", "a\\", "\\", "\n", " a show"),
    *("unknown ", "a\u2028show", "a\0show", "🎧", "a\tshow"),
)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Of each user a few sessions of tracks with ids as odd, over enough days for three splits."""
    rng = random.Random(4)
    rows = []
    for number, user in enumerate(IDS):
        for place in range(4):
            rows.append(
                {
                    "user_id": user,
                    "track_id": IDS[(number + place) % len(IDS)],
                    "timestamp": START + (10 * place + number % 10) * 86_400 + place,
                    "ms_played": 40_000,
                    "skipped": rng.choice([None, True]),
                    "device": "web",
                    "stream_source": SOURCES[(number + place) % len(SOURCES)],
                    "utc_offset_minutes": None,
                    "track_duration_ms": None,
                }
            )
    rng.shuffle(rows)
    return rows


def write_quoted_csv(path: Path, rows: list[Row]) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return write_bytes(path, text.getvalue().encode())


def run(root: Path, log: Path, **options) -> SessionsDirectory:
    config = SessionizeConfig(
        listens=(str(log),),
        output=root / "sessions",
        num_shards=4,
        max_bad_fraction=1,
        **options,
    )
    sessionize(config)
    return open_sessions(config.output)


@pytest.fixture(scope="module")
def directory(rows, tmp_path_factory) -> SessionsDirectory:
    root = tmp_path_factory.mktemp("opaque")
    return run(root / "workspace", write_parquet(root / "log.parquet", rows))


def test_the_ids_are_distinct_and_confusable():
    assert len(set(IDS)) == len(IDS)
    for form in ("NFC", "NFKC"):
        assert len({unicodedata.normalize(form, id) for id in IDS}) < len(IDS)
    for forms in ({id.strip() for id in IDS}, {id.casefold() for id in IDS}):
        assert len(forms) < len(IDS)


def test_every_user_comes_back_with_the_sequence(directory, rows):
    expected = sessions_of(rows)
    tracks = directory.tracks["track_id"].to_pylist()
    assert sorted(tracks) == sorted(IDS)
    assert read_all(directory).num_users == len(IDS)
    for user in IDS:
        table = read_user(directory, user)
        assert table.user_id.tolist() == [user.encode()]
        assert table.num_sessions == len(expected[user])
        for row, session in enumerate(expected[user]):
            assert table.session_start[row] == session.start
            assert [tracks[t] for t in table.track[row] if t >= 0] == session.tracks
            source = directory.stream_sources[table.stream_source[row]]
            assert source == (session.stream_source or "unknown")


@pytest.mark.parametrize(
    ("name", "write"),
    [("log.csv", write_quoted_csv), ("log.jsonl.gz", write_json_lines), ("dict", None)],
)
def test_every_form_carries_every_id(directory, rows, tmp_path, name, write):
    if write is None:
        table = pa.Table.from_pylist(rows)
        for place, column in enumerate(("user_id", "track_id")):
            table = table.set_column(place, column, table[column].dictionary_encode())
        pq.write_table(table, tmp_path / "log.parquet")
        log = tmp_path / "log.parquet"
    else:
        log = write(tmp_path / name, rows)
    again = run(tmp_path, log)
    assert again.sha256 == directory.sha256
    assert again.manifest.counters == directory.manifest.counters


def test_no_file_is_named_by_an_id(directory):
    names = [str(p.relative_to(directory.path)) for p in directory.path.rglob("*") if p.is_file()]
    assert [
        name
        for name in names
        if not re.fullmatch(
            r"sessions-users\.tfrecord-0000[0-3]-of-00004|vocabulary/(tracks\.parquet|devices\.txt|"
            r"stream_sources\.txt)|manifest\.json|features\.json|dataset_info\.json|_SUCCESS|"
            r"state/(listens-0000[0-3]-of-00004|cut_tracks|stream_sources)\.parquet|"
            r"state/inputs\.json",
            name,
        )
    ] == []
    assert {path.name for path in directory.path.parent.iterdir()} == {"sessions"}


def test_tensorflow_datasets_gives_them_back(directory):
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(str(directory.path))
    users = [example["user_id"] for example in tfds.as_numpy(builder.as_dataset("users"))]
    assert sorted(users) == sorted(user.encode() for user in IDS)


def test_recommend_takes_them(directory, tmp_path):
    workspace = Workspace(directory.path.parent)
    write_tracks(workspace.tracks, directory)
    trained = write_run(workspace, "small")
    build_index(trained.embeddings, trained.embeddings.vectors[:5], trained.path / INDEX)
    recommender = Recommender.open(workspace, "small")
    for user in ("anna\0", "an\nna", "\x1b[31manna", *IDS[::20]):
        answer = recommender.recommend_from_log(user, Context(datetime.now(UTC), "web"), 20)
        assert (answer.user, answer.earlier_sessions) == (user, 4)
        assert {track.track_id for track in answer.tracks} <= set(IDS)
        head, *_, last = answer.to_text().split("\n")
        assert head.startswith(f"{on_a_line(user)} on web at ")
        assert last.startswith("  20  ")
        assert "\x1b" not in answer.to_text()
    for nobody in ("anna\0\0\0", "an\udcffna", "\ud800"):
        with pytest.raises(UserError, match="is not in"):
            recommender.recommend_from_log(nobody, Context(datetime.now(UTC), "web"))
    # From a shell, which may pass what is no UTF-8.
    results = run_each(
        "cosernn_tf.recommend",
        [[f"--user={user}", "--run=small", "--format=json"] for user in ("an\nna", "an\udcffna")],
        folder=workspace.root.parent,
        output=tmp_path / "printed",
        preload=["cosernn_tf.serving.everyone"],
    )
    assert json.loads(results[0].stdout)["user"] == "an\nna", results[0].stderr
    assert "is not in" in results[1].error


# Rejected rows -----------------------------------------------------------------------------------


def test_rejected_rows_are_json_lines_whatever_they_hold(rows, tmp_path):
    bad = [{**row, "timestamp": -1} for row in rows]
    write_quoted_csv(tmp_path / "log/a.csv", [*bad, rows[0]])
    write_json_lines(tmp_path / "log/b.jsonl", bad)
    write_parquet(tmp_path / "log/c.parquet", bad)
    directory = run(tmp_path, tmp_path / "log")
    paths = sorted(directory.path.glob("rejected.jsonl-*"))
    assert len(paths) == 3
    for path in paths:
        kept = [json.loads(line) for line in path.read_bytes().removesuffix(b"\n").split(b"\n")]
        assert [row["row"] for row in kept] == list(range(1, len(bad) + 1))
        contents = [json.loads(row["content"]) for row in kept]
        for column in ("user_id", "track_id", "stream_source"):
            texts = [row[column] for row in bad]
            cut = [f"{text[:1000]}…" if text and len(text) > 1000 else text for text in texts]
            assert [content[column] for content in contents] == cut


def test_text_beyond_the_limit_is_rejected(rows, tmp_path):
    longest = "é" * (MAX_TEXT_BYTES // 2)
    columns = ("user_id", "track_id", "stream_source", "device")
    texts = {"x" * MAX_TEXT_BYTES: True, longest: True, longest + "x": False, "x" * 10**6: False}
    changed = [{**rows[0], column: text} for column in columns for text in texts]
    log = write_quoted_csv(tmp_path / "log.csv", changed)
    assert [row["user_id"] for row in clean_rows(SOURCE, log)] == [
        text if column == "user_id" else rows[0]["user_id"]
        for column in columns
        for text, is_fine in texts.items()
        if is_fine
    ]
    assert rejected(SOURCE, log) == [
        (4 * place + number, f"too_long_{column}")
        for place, column in enumerate(columns)
        for number in (3, 4)
    ]
    contents = [row.content for raw in read(SOURCE, log) for row in check_listens(raw).rejected]
    assert all(content and len(content) < 10_000 for content in contents)


# Ids that are no text ----------------------------------------------------------------------------


def test_numbers_of_json_stand_for_their_digits_and_nothing_else_does(tmp_path):
    ids = ["7", '"7"', '"007"', '"NaN"', '"null"', "-1", "12345678901234567890123", '"true"']
    bad = ["7.0", "1e3", "NaN", "true", "false", "Infinity", "007", "[7]", '{"id": 7}']
    missing = ["null", '""']
    lines = [
        f'{{"user_id": {id}, "track_id": "t", "timestamp": {START}}}\n'
        for id in [*ids, *bad, *missing]
    ]
    log = write_bytes(tmp_path / "log.jsonl", "".join(lines).encode())
    assert [row["user_id"] for row in clean_rows(SOURCE, log)] == [id.strip('"') for id in ids]
    reasons = dict(rejected(SOURCE, log))
    assert list(reasons.values()).count("malformed") == len(bad)
    assert list(reasons.values()).count("missing_user_id") == len(missing)
    assert sorted(reasons) == [len(ids) + 1 + n for n in range(len(bad) + len(missing))]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([7, -7, None]), ["7", "-7", MISSING]),
        (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1)]),
        (pa.array([7.0, float("nan"), None]), [BAD, BAD, MISSING]),
        (pa.array([True, None]), [BAD, MISSING]),
        (pa.array([decimal.Decimal(7)], pa.decimal128(20, 0)), ["7"]),
        (pa.array([decimal.Decimal("7.00")], pa.decimal128(20, 2)), [BAD]),
        (pa.array([uuid.UUID(int=7).bytes, None], pa.uuid()), [str(uuid.UUID(int=7)), MISSING]),
        (pa.array([b"anna", b"\xff" * 4], pa.binary(4)), ["anna", BAD]),
        (pa.array([b"anna", b"\xff", b""]), ["anna", BAD, MISSING]),
        (pa.array([b"anna", b"\xff"], pa.binary_view()), ["anna", BAD]),
        (pa.array(["anna", "", None], pa.large_string()), ["anna", MISSING, MISSING]),
        (pa.array(["anna"], pa.string_view()), ["anna"]),
        (pa.array([START], pa.timestamp("s")), [BAD]),
    ],
)
def test_ids_of_the_types_of_parquet(tmp_path, column, expected):
    count = len(column)
    times = range(START, START + count)
    table = pa.table({"user_id": column, "track_id": ["t"] * count, "timestamp": times})
    pq.write_table(table, tmp_path / "log.parquet")
    users = dict(picked(clean_rows(SOURCE, tmp_path / "log.parquet"), "timestamp", "user_id"))
    reasons = dict(rejected(SOURCE, tmp_path / "log.parquet"))
    found = [users.get(time) or reasons[row] for row, time in enumerate(times, start=1)]
    assert found == expected


# Stream sources ----------------------------------------------------------------------------------


def test_vocabularies_have_a_value_a_line(directory):
    values = tuple(source for source in SOURCES if source is not None)
    data = to_lines(values)
    assert from_lines(data) == values
    assert data.count(b"\n") == len(values)
    assert b"\r" not in data
    assert to_lines(["unknown", "web"]) == b"unknown\nweb\n"
    assert to_lines(["a\nb", "a\\nb", "a b"]) == b"a\\nb\na\\\\nb\na b\n"
    assert set(directory.stream_sources) == {"unknown", *values}
