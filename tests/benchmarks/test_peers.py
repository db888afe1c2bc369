"""The peers do the work that they are compared on: their sessions are those of our job."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from benchmarks import polars_sessionize
from benchmarks.contenders import PER_LISTEN, contender, read_counts
from benchmarks.logs import LISTENS, LogConfig, Skew, write_log
from cosernn_tf.dataset import read_all
from cosernn_tf.record_reader import read_records
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SESSION_FEATURES, Per
from cosernn_tf.table import SessionTable, concatenate
from cosernn_tf.workspace import SessionsDirectory, open_sessions

ROOT = Path(__file__).parents[2]

Users = dict[bytes, dict[str, Any]]


def users_of(table: SessionTable) -> Users:
    """The features of each user's sessions, as lists."""
    users = {}
    for row, user in enumerate(table.user_id):
        own = table.select_users(np.array([row]))
        users[user] = {
            feature.name: getattr(own, feature.name).tolist()
            for feature in SESSION_FEATURES
            if feature.per is not Per.USER
        }
    return users


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("log") / "log"
    write_log(LogConfig(num_listens=20_000, skew=Skew.ONE_USER, num_files=3), directory)
    return directory / LISTENS


@pytest.fixture(scope="module")
def ours(log, tmp_path_factory) -> SessionsDirectory:
    output = tmp_path_factory.mktemp("ours") / "sessions"
    sessionize(SessionizeConfig(listens=(str(log),), output=output, num_shards=3))
    return open_sessions(output)


def test_the_log_has_what_could_go_wrong(log, ours):
    counters = ours.manifest.counters
    assert counters["duplicates"] > 50
    times = pq.read_table(log).group_by(["user_id", "timestamp"]).aggregate([]).num_rows
    assert times < counters["kept"] - 50  # listens in the same second
    table = read_all(ours)
    assert (table.num_tracks > MAX_TRACKS_PER_SESSION).any()
    assert (table.seconds_since_last == 20 * 60).any()
    assert 0 < (table.session_start < ours.manifest.split.validation_start).mean() < 1
    assert (table.stream_source == 0).any()


@pytest.mark.parametrize("key_bits", [64, 20])
def test_the_polars_peer_finds_our_sessions(log, ours, tmp_path, monkeypatch, key_bits):
    # With few bits, ids and times do not fit into one key to sort by.
    monkeypatch.setattr(polars_sessionize, "_KEY_BITS", key_bits)
    polars_sessionize.sessionize(log, tmp_path)
    found: Users = {}
    for row in pl.read_parquet(tmp_path / polars_sessionize.SESSIONS).iter_rows(named=True):
        user = row.pop("user_id").encode()
        found[user] = {**row, **{name: padded(row[name]) for name in ("track", "skipped")}}
    assert found == users_of(read_all(ours))
    assert pl.read_parquet(tmp_path / polars_sessionize.TRACKS).rows() == [
        tuple(row.values()) for row in ours.tracks.to_pylist()
    ]
    sources = pl.read_parquet(tmp_path / polars_sessionize.STREAM_SOURCES)["stream_source"]
    assert tuple(sources) == ours.stream_sources


def padded(lists: list[list[int]]) -> list[list[int]]:
    return [own + [-1] * (MAX_TRACKS_PER_SESSION - len(own)) for own in lists]


def test_beam_per_listen_finds_our_sessions(log, ours, tmp_path):
    command = contender(PER_LISTEN).command(listens=log, output=tmp_path)
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    shards = sorted(tmp_path.glob("sessions-*"))
    table = concatenate([read_records(path.read_bytes(), where=path) for path in shards])
    assert users_of(table) == users_of(read_all(ours))
    (tracks,) = tmp_path.glob("tracks-*")
    assert tracks.read_text().splitlines() == ours.tracks["track_id"].to_pylist()
    (sources,) = tmp_path.glob("stream_sources-*")
    assert tuple(sources.read_text().splitlines()) == ours.stream_sources
    assert read_counts(tmp_path) == read_counts(ours.path)
