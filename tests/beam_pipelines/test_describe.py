"""`python -m beam_pipelines.describe` as a user runs it."""

import json
import re
import shutil
from pathlib import Path

import matplotlib.image
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.inspection.plots import PLOTTERS
from beam_pipelines.job import sessionize
from cosernn_tf.workspace import open_sessions
from tests.entry_points import Result, run, run_each

from .files import files_of, write_bytes, write_json_lines, write_parquet
from .logs import random_rows, sessions_of

CALLS = {
    "default": [],
    "told": [
        "--sessions=ws/sessions",
        "--output=elsewhere/description",
        "--title=Tea",
        "--author=Anna",
        "--licence=CC BY 4.0",
        "--source=A diary",
    ],
}
ERRORS = {
    "--workspace=nowhere": r"nowhere/sessions does not exist: run beam_pipelines.sessionize first",
    "--sessions=ws": r"ws has no _SUCCESS, so it is not a finished directory",
    "--output=ws/sessions": r"ws/sessions exists and is not an older output of this job",
    "--sessions=damaged": r"damaged/sessions-users\S+ does not have the checksum",
    "--sessions=other": r"other/manifest.json has schema version 99",
    "--sessions=torn": r"torn/vocabulary/tracks.parquet does not have the checksum",
    "--session=ws": r"Unknown command line flag 'session'",
}


@pytest.fixture(scope="module")
def rows() -> list:
    return random_rows(6, users=12, listens=40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows) -> Path:
    """With the workspace `ws`, and directories of sessions that something happened to."""
    folder = tmp_path_factory.mktemp("describe")
    write_parquet(folder / "log/a.parquet", rows)
    write_json_lines(
        folder / "log/b.jsonl", [{**rows[0], "timestamp": time} for time in (-1, "soon")]
    )
    write_bytes(
        folder / "users.csv", f"user_id,age\n{rows[0]['user_id']},30\n,5\nx,6\nx,7\n".encode()
    )
    config = SessionizeConfig(
        listens=(str(folder / "log"),),
        users=str(folder / "users.csv"),
        output=folder / "ws/sessions",
        num_shards=3,
        max_bad_fraction=1.0,
    )
    sessionize(config)
    for name in ("damaged", "other", "torn"):
        shutil.copytree(config.output, folder / name)
    shard = next(s for s in open_sessions(folder / "damaged").manifest.shards if s.users)
    damaged = bytearray((folder / "damaged" / shard.name).read_bytes())
    damaged[-20] ^= 1
    (folder / "damaged" / shard.name).write_bytes(damaged)
    manifest = json.loads((folder / "other/manifest.json").read_text())
    (folder / "other/manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    tracks = folder / "torn/vocabulary/tracks.parquet"
    tracks.write_bytes(tracks.read_bytes()[:-9])
    return folder


@pytest.fixture(scope="module")
def results(folder) -> dict[str, Result]:
    """In the order of the calls: the errors come last."""
    calls = {**CALLS, **{argument: [argument] for argument in ERRORS}}
    results = run_each(
        "beam_pipelines.describe",
        [["--workspace=ws", *arguments] for arguments in calls.values()],
        folder=folder,
        output=folder / "results",
        preload=["beam_pipelines.inspection.run"],
    )
    return dict(zip(calls, results, strict=True))


def test_it_writes_statistics_plots_and_a_card(folder, results, rows):
    result = results["default"]
    assert result.code == 0, result.stderr
    files = files_of(folder / "ws/description")
    plots = {f"plots/{name}" for name in PLOTTERS}
    assert set(files) == {"statistics.json", "DATA_CARD.md", "_SUCCESS", *plots}
    statistics = json.loads(files["statistics.json"])
    sessions = open_sessions(folder / "ws/sessions")
    expected = sessions_of(rows)
    assert statistics["users"] == len(expected)
    assert statistics["sessions"] == sum(map(len, expected.values()))
    assert statistics["listens"] == sum(len(s.tracks) for own in expected.values() for s in own)
    assert statistics["counters"] == sessions.manifest.counters
    assert statistics["rejected"] == {"bad_timestamp": 1, "timestamp_out_of_range": 1}
    assert statistics["rejected_share"] == 2 / (len(rows) + 2)
    assert statistics["sessions_sha256"] == sessions.sha256
    assert statistics["users_with_age"] == 1
    for name in PLOTTERS:
        image = matplotlib.image.imread(folder / "ws/description/plots" / name)
        assert image.shape[:2] == (640, 1024)
        assert image[:, :, :3].std() > 0.02


def test_it_prints_the_tables(results, rows):
    text = results["default"].stdout
    num_sessions = sum(map(len, sessions_of(rows).values()))
    assert re.search(rf"^sessions +{num_sessions:,}$", text, re.M)
    assert re.search(rf"^read +{len(rows) + 2:,} +100\.0 %$", text, re.M)
    assert re.search(r"^rejected: bad timestamp +1 +\d\.\d %$", text, re.M)
    assert re.search(r"^of users who are not in the log +1 +25\.0 %$", text, re.M)
    assert re.search(r"^of users who were named before +1 +25\.0 %$", text, re.M)
    assert re.search(r"^rejected: users missing user id +1 +25\.0 %$", text, re.M)
    for title in ("Splits", "Distributions", "Device", "Stream source", "Period of day"):
        assert re.search(rf"^{title} ", text, re.M)
    assert text.rstrip().endswith("ws/description")
    assert "Warning" not in results["default"].stderr


def test_the_card_is_of_this_data_and_names_no_path(folder, results):
    text = (folder / "ws/description/DATA_CARD.md").read_text("utf-8")
    assert str(folder) not in text
    assert str(folder) not in (folder / "ws/description/statistics.json").read_text("utf-8")
    assert not re.search(r"(?<![\w.:/])/\w+/", text)
    assert "do not publish" in text
    images = re.findall(r"!\[.*\]\((.*)\)", text)
    assert set(images) == {f"plots/{name}" for name in PLOTTERS}
    assert open_sessions(folder / "ws/sessions").sha256 in text


def test_what_flags_say_is_in_the_card(folder, results):
    assert results["told"].code == 0, results["told"].stderr
    text = (folder / "elsewhere/description/DATA_CARD.md").read_text("utf-8")
    assert text.startswith("# Tea\n")
    assert "- Author: Anna\n- Licence: CC BY 4.0\n- Source: A diary\n" in text
    one, other = (files_of(folder / path) for path in ("ws/description", "elsewhere/description"))
    assert {name for name in one if one[name] != other[name]} == {"DATA_CARD.md"}


@pytest.mark.parametrize("argument", ERRORS)
def test_errors_are_one_line(results, argument):
    result = results[argument]
    assert result.code == 2
    assert re.search(ERRORS[argument], result.error)
    assert result.stdout == ""


def test_errors_leave_the_older_description(folder, results):
    assert {path.name for path in (folder / "ws").iterdir()} == {"sessions", "description"}
    assert "_SUCCESS" in files_of(folder / "ws/description")
    assert set(files_of(folder / "ws/sessions")) == set(files_of(folder / "torn"))


def test_the_default_log(tmp_path):
    """The commands of the README, on a small log of the default kind."""
    for module, arguments in (
        ("beam_pipelines.synthesize", ["--num_users=12", "--num_tracks=2000"]),
        ("beam_pipelines.sessionize", []),
        ("beam_pipelines.describe", []),
    ):
        result = run(module, arguments, folder=tmp_path)
        assert result.code == 0, result.stderr
    description = tmp_path / "workspace/description"
    statistics = json.loads((description / "statistics.json").read_text())
    summary = json.loads((tmp_path / "workspace/log/log.json").read_text())["counts"]
    assert statistics["users"] == 12
    assert "12 users" in (description / "DATA_CARD.md").read_text("utf-8")
    assert statistics["listens"] == summary["listens"]
    assert statistics["sessions"] == summary["sessions"]
    assert statistics["skip_rules"]["given"] == summary["listens"]
