"""Every statistic against loops in plain Python, and what it must not depend on."""

import dataclasses
import json
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beam_pipelines.inspection.run import gather
from beam_pipelines.inspection.statistics import RELATIVE_TIMES, Statistics
from beam_pipelines.sources import FORMATS
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory
from tests.workspaces import random_table, write_sessions

from . import oracle


def in_steps(table: SessionTable) -> SessionTable:
    """Its times in steps of ten minutes, two of them exactly where a split begins."""
    start = table.session_start // 600 * 600
    start[[3, 4]] = start.max() - np.array([14, 19]) * 86_400
    return dataclasses.replace(table, session_start=start)


TABLES: dict[str, SessionTable] = {
    "many users": random_table(1, num_users=130, sessions_per_user=3),
    "skewed": random_table(2, num_users=9, sessions_per_user=[1, 2, 1, 3, 150, 2, 9, 1, 40]),
    "long": random_table(3, num_users=6, sessions_per_user=80),
    "in steps": in_steps(random_table(5, num_users=5, sessions_per_user=30)),
}


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        yield


def plain(statistics: Statistics) -> dict:
    return dict(json.loads(statistics.to_json()))


@pytest.mark.parametrize("name", TABLES)
def test_every_statistic_equals_the_oracle(tmp_path, name):
    table = TABLES[name]
    directory = write_sessions(tmp_path / "sessions", table)
    found = plain(gather(directory))
    expected = oracle.expected(directory, table)
    gaps, expected_gaps = found["gap_seconds"], expected.pop("gap_seconds")
    popularity, expected_popularity = found["popularity"], expected.pop("popularity")
    ranked = expected_popularity.pop("ranked")
    assert {field: found[field] for field in expected} == expected
    assert {field: gaps[field] for field in expected_gaps} == expected_gaps
    assert popularity.pop("gini") == pytest.approx(expected_popularity.pop("gini"))
    assert {field: popularity[field] for field in expected_popularity} == expected_popularity
    ranks = popularity["ranks"]
    assert ranks[0] == 1
    assert ranks[-1] == len(ranked)
    assert [ranked[rank - 1] for rank in ranks] == popularity["listens"]
    assert found["step_seconds"] == (600 if name == "in steps" else 1)
    # All fields are told of above, but those that the manifest or the files give.
    given = {
        "format",
        "sessions_sha256",
        "vocabularies",
        "schema_version",
        "options",
        "shards",
        "ids",
    }
    given |= {"bytes", "first_timestamp", "last_timestamp", "days", "counters", "rejected"}
    given |= {"rejected_share", "skip_rules"}
    assert set(found) == {*expected, *given, "gap_seconds", "popularity"}


@pytest.mark.parametrize("name", TABLES)
def test_quantiles_of_gaps_are_right_to_a_thousandth(tmp_path, name):
    table = TABLES[name]
    found = gather(write_sessions(tmp_path / "sessions", table)).gap_seconds
    gaps = [session.gap for session in oracle.sessions_of(table) if session.position > 0]
    assert not found.exact
    for percent, value in oracle.quantiles(gaps).items():
        assert found.quantiles[percent] == pytest.approx(value, rel=1 / 1024)
    assert found.minimum == pytest.approx(min(gaps), rel=1 / 1024)
    assert found.maximum == pytest.approx(max(gaps), rel=1 / 1024)
    assert sum(found.counts) == len(gaps)


def test_nothing_depends_on_the_shards_or_the_order_of_users(tmp_path):
    table = TABLES["skewed"]
    backwards = table.select_users(np.arange(table.num_users)[::-1])
    of_files = {"sessions_sha256", "shards", "bytes"}
    found = [
        plain(gather(write_sessions(tmp_path / str(number), users, num_shards=number)))
        for number, users in ((1, table), (2, backwards), (7, table), (40, backwards))
    ]
    first = {field: value for field, value in found[0].items() if field not in of_files}
    for other in found[1:]:
        assert {field: other[field] for field in first} == first
    assert [statistics["shards"] for statistics in found] == [1, 2, 7, 40]


def test_memory_does_not_grow_with_the_users(tmp_path):
    def peak(num_shards: int) -> int:
        table = random_table(1, num_users=40 * num_shards, sessions_per_user=20)
        path = tmp_path / str(num_shards)
        directory = write_sessions(path, table, num_shards=num_shards)
        largest = max(shard.sessions for shard in directory.manifest.shards)
        tracemalloc.start()
        found = gather(directory)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.users == 40 * num_shards
        return most // largest

    assert peak(24) < 1.5 * peak(3)


def of_options(tmp_path: Path, **changes: Any) -> SessionsDirectory:
    directory = write_sessions(tmp_path / "sessions", TABLES["long"])
    return dataclasses.replace(
        directory, manifest=dataclasses.replace(directory.manifest, **changes)
    )


def test_what_the_manifest_says(tmp_path):
    counters = {
        "read": 200,
        "kept": 150,
        "duplicates": 10,
        "rejected_missing_user_id": 5,
        "rejected_bad_ms_played": 35,
        "rejected_malformed": 0,
        "rejected_users_bad_age": 3,
        "skipped_given": 100,
        "skipped_from_ms_played": 50,
    }
    options = {
        "listens": ["/home/anna/log"],
        "users": "/home/anna/users.csv",
        "output": "/tmp/out",
        "listens_format": "canonical",
        "num_shards": 4,
        "max_bad_fraction": 0.5,
        "a_switch": True,
    }
    found = gather(
        of_options(
            tmp_path,
            counters=counters,
            options=options,
            first_timestamp=1_000,
            last_timestamp=1_000_000_000,
        )
    )
    assert found.rejected == {"bad_ms_played": 35, "missing_user_id": 5}
    assert list(found.rejected) == ["bad_ms_played", "missing_user_id"]
    assert found.rejected_share == 40 / 200
    assert found.skip_rules == {"given": 100, "from_ms_played": 50}
    assert found.counters == counters
    assert found.options == {
        "listens_format": "canonical",
        "num_shards": 4,
        "max_bad_fraction": 0.5,
        "a_switch": True,
    }
    assert "anna" not in found.to_json()
    assert found.days == pytest.approx(999_999_000 / 86_400)
    assert not found.has_relative_times
    files = list((tmp_path / "sessions").glob("*.tfrecord-*"))
    assert found.bytes == sum(file.stat().st_size for file in files)
    assert found.shards == len(files)


def test_json_keeps_names_as_they_are(tmp_path):
    directory = write_sessions(tmp_path / "sessions", TABLES["long"])
    names = ("unknown", "[1,  2]", 'a "new"\n[\n 3,\n 4]')
    directory.__dict__["stream_sources"] = names
    found = json.loads(gather(directory).to_json())
    assert tuple(source["name"] for source in found["stream_sources"]) == names


def test_formats_of_relative_times_are_those_that_their_modules_say():
    sources = Path(__file__).parents[3] / "beam_pipelines/sources"
    relative = [
        name
        for name in FORMATS
        if "START_OF_RELATIVE_TIMES" in (sources / f"{name}.py").read_text("utf-8")
    ]
    assert sorted(RELATIVE_TIMES) == sorted(relative)
    assert relative


# Little data -------------------------------------------------------------------------------------


def one_session_each(users: int, *, cut: bool = False) -> SessionTable:
    table = random_table(4, num_users=users, sessions_per_user=0)
    assert table.num_sessions == users
    zeros = np.zeros_like(table.skipped)
    track = np.where(table.track == -1, -1, -2) if cut else table.track
    return dataclasses.replace(
        table,
        skipped=np.where(table.track == -1, -1, zeros),
        track=track,
        user_age=-1 + 0 * table.user_age,
    )


def test_users_with_one_session_have_no_gaps(tmp_path):
    found = gather(write_sessions(tmp_path / "sessions", one_session_each(5)))
    assert (found.gap_seconds.count, found.gap_seconds.mean) == (0, None)
    assert set(found.gap_seconds.quantiles.values()) == {None}
    assert found.skip_rate == 0.0
    assert found.users_with_age == 0
    assert found.rejected_share is None
    json.loads(found.to_json())


def test_one_session_only(tmp_path):
    found = gather(write_sessions(tmp_path / "sessions", one_session_each(1), num_shards=1))
    assert (found.users, found.sessions, found.step_seconds) == (1, 1, None)
    assert [split.sessions for split in found.splits] == [0, 0, 1]
    assert found.history_at_test.quantiles["p50"] == 0
    assert found.heaviest_users_share == 1.0
    assert len(found.weeks) == 1


def test_tracks_that_are_all_cut(tmp_path):
    found = gather(write_sessions(tmp_path / "sessions", one_session_each(3, cut=True)))
    assert found.listens_cut == found.kept_listens > 0
    popularity = found.popularity
    assert (popularity.tracks, popularity.top_share, popularity.gini) == (0, None, None)
    assert popularity.repeat_share is None
    assert found.distinct_tracks_per_user.maximum == 0


def test_an_empty_vocabulary(tmp_path):
    table = one_session_each(3, cut=True)
    found = gather(write_sessions(tmp_path / "sessions", table, num_tracks=0))
    assert found.tracks == 0
    assert found.distinct_tracks_per_user.maximum == 0
