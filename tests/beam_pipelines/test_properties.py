"""What holds of the sessions of any log (hypothesis), on the pure rules and on the whole job."""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize as run_job
from beam_pipelines.rules.buckets import gather_bucket
from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.rows import RawListens
from beam_pipelines.rules.state import INPUTS
from beam_pipelines.transforms.sequence import sequence_bucket
from cosernn_tf.dataset import read_all
from cosernn_tf.schema import DEVICES, LISTEN_COLUMNS
from cosernn_tf.sessions import shard_of
from cosernn_tf.workspace import VOCABULARIES, SessionsDirectory, open_sessions

from .files import part_of, raw_listens, write_csv, write_json_lines, write_parquet
from .logs import GAP, Row, sessions_of
from .strategies import START, USERS, later_listens, logs, parts, raw_rows

WEEK = 7 * 86_400

# The same examples in every run, so that a failure is of the change that brought it.
some = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Session:
    """A session by names and not by codes; all its listens, and of the record what is kept."""

    start: int
    day_of_week: int
    hour: int
    device: str
    source: str | None
    since_last: int
    num_tracks: int
    tracks: tuple[str, ...]
    skipped: tuple[bool, ...]
    listens: tuple[tuple[int, str], ...]
    """Time and track of each, also beyond those that are kept."""


def sequences(*batches: list[Row], gap: int = GAP) -> dict[str, list[Session]]:
    """The sessions of each user, by the functions that the job calls."""
    clean = [part_of(check_listens(raw_listens(rows)).clean) for rows in batches if rows]
    bucket = gather_bucket(clean)
    ages = np.full(len(bucket.user_id), -1)
    found, counters = sequence_bucket(bucket, ages, gap_seconds=gap)
    assert counters["kept"] + counters["duplicates"] == sum(map(len, batches))
    table, ordered = found.table, found.listens
    track_ids, sources = bucket.track_id.to_pylist(), [*bucket.stream_source.to_pylist(), None]
    users: dict[str, list[Session]] = {}
    for user, user_id in enumerate(table.user_id):
        users[user_id.decode()] = [
            Session(
                start=int(table.session_start[row]),
                day_of_week=int(table.day_of_week[row]),
                hour=int(table.hour[row]),
                device=DEVICES[table.device[row]],
                source=sources[table.stream_source[row]],
                since_last=int(table.seconds_since_last[row]),
                num_tracks=int(table.num_tracks[row]),
                tracks=tuple(track_ids[track] for track in table.track[row] if track >= 0),
                skipped=tuple(bool(skip) for skip in table.skipped[row] if skip >= 0),
                listens=tuple(
                    (int(ordered.timestamp[listen]), track_ids[ordered.track[listen]])
                    for listen in np.flatnonzero(found.session_of_listen == row)
                ),
            )
            for row in range(*table.row_splits[user : user + 2])
        ]
    return users


# The pure rules ----------------------------------------------------------------------------------


@some
@given(rows=logs(), gap=st.sampled_from([1, 60, GAP, 10**6]))
def test_sessions_equal_the_row_by_row_oracle(rows, gap):
    found, expected = sequences(rows, gap=gap), sessions_of(rows, gap=gap)
    assert list(found) == sorted(expected, key=str.encode)
    for user, sessions in expected.items():
        assert len(found[user]) == len(sessions)
        for own, session in zip(found[user], sessions, strict=True):
            assert own.start == session.start
            assert (own.day_of_week, own.hour) == (session.day_of_week, session.hour)
            assert (own.device, own.source) == (session.device, session.stream_source)
            assert own.since_last == session.seconds_since_last
            assert own.num_tracks == len(session.tracks)
            assert own.tracks == tuple(session.tracks[:10])
            assert own.skipped == tuple(session.skipped[:10])


@some
@given(rows=logs(), data=st.data())
def test_order_and_parts_of_the_log_do_not_matter(rows, data):
    assert sequences(*data.draw(parts(rows))) == sequences(rows)


@some
@given(rows=logs(min_listens=5, max_listens=40, users=USERS[:2]))
def test_joined_sessions_give_back_the_log_each_listen_once(rows):
    found = sequences(rows)
    keys = {(row["user_id"], row["timestamp"], row["track_id"]) for row in rows}
    joined = {
        user: [key for own in sessions for key in own.listens] for user, sessions in found.items()
    }
    assert joined == {
        user: sorted((time, track) for owner, time, track in keys if owner == user)
        for user in {owner for owner, _, _ in keys}
    }
    for session in (own for sessions in found.values() for own in sessions):
        assert session.num_tracks == len(session.listens) > 0
        assert session.tracks == tuple(track for _, track in session.listens[:10])
        assert len(session.skipped) == len(session.tracks)
        assert session.start == session.listens[0][0]


@some
@given(rows=raw_rows())
def test_every_row_is_clean_or_has_its_one_reason(rows):
    columns = {
        column.name: pa.array([values[column.name] for values, _ in rows], pa.binary())
        for column in LISTEN_COLUMNS
    }
    checked = check_listens(RawListens(columns, np.arange(1, len(rows) + 1)))
    expected = {row: reason for row, (_, reason) in enumerate(rows, start=1) if reason}
    assert {row.row: row.reason for row in checked.rejected} == expected
    assert len(checked.rejected) == len(expected)
    assert checked.clean.num_rows == len(rows) - len(expected)


@some
@given(rows=logs(), weeks=st.integers(-2000, 1000))
def test_whole_weeks_shift_the_starts_and_nothing_else(rows, weeks):
    shift = weeks * WEEK
    moved = sequences([{**row, "timestamp": row["timestamp"] + shift} for row in rows])
    assert moved == {
        user: [
            dataclasses.replace(
                own,
                start=own.start + shift,
                listens=tuple((time + shift, track) for time, track in own.listens),
            )
            for own in sessions
        ]
        for user, sessions in sequences(rows).items()
    }


@some
@given(rows=logs(users=USERS[:2]), data=st.data())
def test_the_future_changes_the_past_in_one_flag_only(rows, data):
    """Listens after a user's last one leave all sessions before the last as they were.

    The last session may go on. Of what it had, one thing may change: its last listen, played so
    far, counts as skipped if neither its flag nor its time played is known, its length is, and the
    next listen starts within half of it.
    """
    before = sequences(rows)
    user = data.draw(st.sampled_from(sorted(before)))
    own = [row for row in rows if row["user_id"] == user]
    last = max(row["timestamp"] for row in own)
    added = data.draw(later_listens(user, last))
    after = sequences([*rows, *added])
    assert {u: s for u, s in after.items() if u != user} == {
        u: s for u, s in before.items() if u != user
    }
    closed = len(before[user]) - 1
    assert after[user][:closed] == before[user][:closed]
    old, new = before[user][closed], after[user][closed]
    of_start = ("start", "day_of_week", "hour", "device", "source", "since_last")
    assert [getattr(new, name) for name in of_start] == [getattr(old, name) for name in of_start]
    assert new.num_tracks >= old.num_tracks
    assert new.listens[: old.num_tracks] == old.listens
    kept = len(old.tracks)
    assert new.tracks[:kept] == old.tracks
    changed = [place for place in range(kept) if new.skipped[place] != old.skipped[place]]
    if changed:
        assert changed == [old.num_tracks - 1]
        assert new.skipped[changed[0]]
        copies = [row for row in own if (row["timestamp"], row["track_id"]) == old.listens[-1]]
        assert any(
            (row["skipped"], row["ms_played"]) == (None, None)
            and row["track_duration_ms"] > 2000 * (min(row["timestamp"] for row in added) - last)
            for row in copies
            if row["track_duration_ms"] is not None
        )


@some
@given(rows=logs(users=USERS))
def test_a_user_alone_has_the_same_sequence(rows):
    for user, sessions in sequences(rows).items():
        assert sequences([row for row in rows if row["user_id"] == user]) == {user: sessions}


@some
@given(rows=logs(), data=st.data())
def test_a_longer_gap_joins_sessions_and_cuts_none(rows, data):
    short, long = sorted(data.draw(st.tuples(*[st.integers(1, 3 * GAP)] * 2)))
    few, many = sequences(rows, gap=long), sequences(rows, gap=short)
    for user, sessions in few.items():
        starts = {own.start for own in many[user]}
        assert {own.start for own in sessions} <= starts
        assert all(own.since_last >= long for own in sessions[1:])
        assert sum(own.num_tracks for own in sessions) == sum(o.num_tracks for o in many[user])


@some
@given(rows=logs(), factor=st.integers(2, 7), gap=st.sampled_from([60, GAP]))
def test_times_and_gap_in_another_unit_cut_the_same_sessions(rows, factor, gap):
    whole = [
        {**row, "ms_played": row["ms_played"] and row["ms_played"] % 10**8 // 1000 * 1000}
        for row in rows
    ]
    scaled = [
        {
            **row,
            "timestamp": START + factor * (row["timestamp"] - START),
            "ms_played": row["ms_played"] and factor * row["ms_played"],
        }
        for row in whole
    ]
    found = sequences(scaled, gap=factor * gap)
    for user, sessions in sequences(whole, gap=gap).items():
        assert [own.num_tracks for own in found[user]] == [own.num_tracks for own in sessions]
        assert [own.tracks for own in found[user]] == [own.tracks for own in sessions]
        assert [own.since_last for own in found[user]] == [factor * o.since_last for o in sessions]


def crc32(data: bytes) -> int:
    """Bit by bit, from the polynomial."""
    remainder = 0xFFFFFFFF
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = remainder >> 1 ^ 0xEDB88320 * (remainder & 1)
    return remainder ^ 0xFFFFFFFF


@some
@given(
    ids=st.lists(st.text(st.characters(codec="utf-8")), max_size=8), shards=st.integers(1, 30_000)
)
def test_a_shard_is_the_crc_of_the_id_whoever_else_is_there(ids, shards):
    found = shard_of(ids, shards).tolist()
    assert found == [crc32(id.encode()) % shards for id in ids]
    assert found == shard_of([id.encode() for id in ids], shards).tolist()


# The whole job -----------------------------------------------------------------------------------

# Shrinking a failure of a job that takes a second would take minutes.
few = settings(some, max_examples=2, phases=[Phase.generate])
WRITERS = {".parquet": write_parquet, ".csv": write_csv, ".jsonl.gz": write_json_lines}


def run(root: Path, files: dict[str, list[Row]]) -> SessionsDirectory:
    for name, rows in files.items():
        if rows:
            WRITERS[name[name.index(".") :]](root / "log" / name, rows)
    config = SessionizeConfig(
        listens=(str(root / "log"),), output=root / "sessions", num_shards=3, test_days=3
    )
    run_job(config)
    return open_sessions(config.output)


def content(directory: SessionsDirectory) -> dict[str, Any]:
    """All bytes of the output, but for what names the files of the log."""
    manifest = dataclasses.asdict(directory.manifest)
    del manifest["options"], manifest["state"][INPUTS]
    names = [str(p.relative_to(directory.path)) for p in directory.path.rglob("*") if p.is_file()]
    return {
        **{name: (directory.path / name).read_bytes() for name in names if name != INPUTS},
        "manifest.json": manifest,
    }


@few
@given(rows=logs(min_listens=20, max_listens=40), data=st.data())
def test_any_order_any_files_and_any_week_give_the_same_output(tmp_path_factory, rows, data):
    root = tmp_path_factory.mktemp("property")
    whole = run(root / "whole", {"a.parquet": rows})
    pieces = data.draw(parts(rows))
    forms = data.draw(st.lists(st.sampled_from(sorted(WRITERS)), min_size=5, max_size=5))
    files = {f"{number}{forms[number]}": piece for number, piece in enumerate(pieces)}
    assert content(run(root / "parts", files)) == content(whole)

    shift = data.draw(st.integers(-500, 500)) * WEEK
    moved = run(
        root / "moved", {"a.parquet": [{**r, "timestamp": r["timestamp"] + shift} for r in rows]}
    )
    table, expected = read_all(moved), read_all(whole)
    starts = expected.session_start + shift
    for field in dataclasses.fields(expected):
        values = starts if field.name == "session_start" else getattr(expected, field.name)
        np.testing.assert_array_equal(getattr(table, field.name), values)
    for name in VOCABULARIES:
        assert content(moved)[name] == content(whole)[name]
    assert moved.manifest.split.test_start == whole.manifest.split.test_start + shift
    assert moved.manifest.counters == whole.manifest.counters


# The strategies ----------------------------------------------------------------------------------


def test_the_logs_have_what_decides():
    seen: Counter[str] = Counter()

    @some
    @given(rows=logs())
    def look(rows: list[Row]) -> None:
        keys = [(row["user_id"], row["timestamp"], row["track_id"]) for row in rows]
        seen["duplicate"] += len(set(keys)) < len(keys)
        seen["tie"] += len({key[:2] for key in keys}) < len(set(keys))
        for user, sessions in sessions_of(rows).items():
            ends = sorted(
                (row["timestamp"], row["timestamp"] + (row["ms_played"] or 0) // 1000)
                for row in rows
                if row["user_id"] == user
            )
            pauses = [b[0] - a[1] for a, b in pairwise(ends)]
            seen["overlap"] += any(pause < 0 for pause in pauses)
            seen["exactly the gap"] += any(s.seconds_since_last == GAP for s in sessions)
            seen["just within"] += GAP - 1 in pauses
            seen["long session"] += any(len(s.tracks) > 10 for s in sessions)
            seen["several"] += len(sessions) > 2
        for name, values in (
            ("ms_played", (None, 0, 2**63 - 1)),
            ("utc_offset_minutes", (-1080, 1080)),
            ("skipped", (None,)),
            ("track_duration_ms", (None, 0, 2**63 - 1)),
        ):
            for value in values:
                seen[f"{name} {value}"] += any(row[name] == value for row in rows)

    look()
    assert min(seen.values()) > 0, seen
