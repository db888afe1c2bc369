"""Adding newer logs gives the bytes of one run over all of them, or tells why not."""

import json
import logging
import random
import shutil
from pathlib import Path

import pytest

from beam_pipelines import job
from beam_pipelines.job import sessionize
from beam_pipelines.memory import MemoryPlan
from cosernn_tf.dataset import read_all
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import open_sessions

from .appending import (
    DAY,
    add,
    assert_equal,
    bad,
    config_of,
    content,
    counters_of,
    divided,
    is_in_time,
    rejected_of,
    reopened,
    spread,
)
from .files import write_bytes, write_json_lines
from .logs import Row

CASES: list[tuple[int, dict[str, int]]] = [
    (3, {}),
    (3, {"min_track_listens": 9, "max_stream_sources": 1, "session_gap_seconds": 60}),
    (2, {"min_track_listens": 3, "max_stream_sources": 0, "validation_days": 3, "test_days": 8}),
]


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_appending_equals_one_run(seed, tmp_path, monkeypatch):
    """Every file: shards, vocabularies, rejected rows, state and manifest."""
    num_logs, case = CASES[seed]
    options = {"max_bad_fraction": 1.0, **case}
    days = case.get("validation_days", 5) + case.get("test_days", 14)
    rng = random.Random(seed)
    rows = spread(seed)
    logs: list[list[Row]] = []
    times = sorted(row["timestamp"] for row in rows)
    for part in range(num_logs - 1, 0, -1):
        cut = times[int(len(times) * rng.uniform(part - 0.3, part + 0.5) / num_logs)]
        pause = 0
        if seed == 0 and part == num_logs - 1:
            # A last log of late listens only: the splits stay.
            cut, pause = times[-1] + 1, 10 * DAY
        rows, newer = divided(rows, cut, rng, days=days, pause=pause)
        logs.insert(0, newer)
        assert reopened(rows, days=days) or part < num_logs - 1
    logs.insert(0, rows)
    # Names sort otherwise than the logs follow each other.
    paths = [
        write_json_lines(tmp_path / f"log-{(n * 7 + 3) % 5}.jsonl", own + bad(n) * (n != 1))
        for n, own in enumerate(logs)
    ]
    output = tmp_path / "sessions"
    sessionize(config_of(output, paths[:1], **options))
    with monkeypatch.context() as patch:
        # However the work is cut.
        patch.setattr(job, "_plan", lambda *_: MemoryPlan(fan=1 + seed, num_ranges=4))
        for path in paths[1:]:
            add(output, path)
    found = content(output)
    shutil.rmtree(output)
    sessionize(config_of(output, paths, **options))
    assert_equal(found, content(output))


def test_listens_that_are_too_late_are_kept_aside(tmp_path):
    """All else is as of one run over the others."""
    rng = random.Random(7)
    rows = spread(7)
    cut = sorted(row["timestamp"] for row in rows)[-len(rows) // 4]
    older = [row for row in rows if row["timestamp"] < cut and rng.random() < 0.8]
    newer = [row for row in rows if not any(row is other for other in older)]
    since = reopened(older)
    strange = {
        **rows[0],
        "user_id": sorted(since)[0],
        "track_id": "never seen",
        "timestamp": 5,
        "ms_played": None,
        "skipped": True,
        "device": "toaster",
        "stream_source": "never heard",
        "utc_offset_minutes": None,
    }
    newer.insert(len(newer) // 2, strange)
    late = [row for row in newer if not is_in_time(row, since)]
    assert 5 < len(late) < len(newer) - 5
    in_time = [row for row in newer if is_in_time(row, since)]
    first = write_json_lines(tmp_path / "older.jsonl", older)
    second = write_json_lines(tmp_path / "newer.jsonl", newer + bad(3))
    output, whole = tmp_path / "sessions", tmp_path / "whole"
    sessionize(config_of(output, [first]))
    add(output, second)
    sessionize(config_of(whole, [first, write_json_lines(tmp_path / "in_time.jsonl", in_time)]))

    found, expected = content(output), content(whole)
    assert expected.keys() - found.keys() == set()
    for name, data in expected.items():
        assert found[name] == data or name in ("manifest.json", "state/inputs.json"), name
    counters = counters_of(output)
    assert counters.pop("rejected_too_late") == len(late)
    assert [counters.pop(f"rejected_missing_{name}") for name in ("track_id", "user_id")] == [1, 1]
    counters["read"] -= len(late) + 2
    assert counters == counters_of(whole)
    spans = [open_sessions(path).manifest for path in (output, whole)]
    assert spans[0].first_timestamp == spans[1].first_timestamp > 5

    lines = rejected_of(output)
    assert {line["file"] for line in lines} == {str(second)}
    assert [line["row"] for line in lines] == sorted(line["row"] for line in lines)
    assert [newer[line["row"] - 1] for line in lines[:-2]] == late
    assert {line["reason"] for line in lines[:-2]} == {"too_late"}
    contents = [json.loads(line["content"]) for line in lines[:-2]]
    for row, kept in zip(late, contents, strict=True):
        for name in ("user_id", "track_id", "timestamp", "ms_played", "skipped", "stream_source"):
            assert kept[name] == row[name], name
    (kept,) = (kept for kept in contents if kept["timestamp"] == 5)
    assert (kept["device"], kept["utc_offset_minutes"]) == ("other", 0)


def test_a_log_that_was_added_before_changes_nothing_and_is_told(tmp_path, caplog):
    rows = spread(2)
    log = write_json_lines(tmp_path / "log.jsonl", [*rows[:200], *bad(1), *rows[200:]])
    output = tmp_path / "sessions"
    sessionize(config_of(output, [log], max_bad_fraction=1.0))
    before, counters = content(output), counters_of(output)
    with caplog.at_level(logging.WARNING):
        add(output, log)
    assert "Nothing was added: all rows" in caplog.text
    assert "Was this log added before?" in caplog.text
    after = content(output)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert changed == {"manifest.json", "rejected.jsonl-00000-of-00001"}
    added = {name: n - counters.get(name, 0) for name, n in counters_of(output).items()}
    late = added.pop("rejected_too_late")
    assert 0 < late < len(rows)
    bad_rows = {"rejected_missing_track_id": 1, "rejected_missing_user_id": 1}
    expected = {"read": len(rows) + 2, "duplicates": len(rows) - late, **bad_rows}
    expected["devices_other"] = added["devices_other"]
    assert 0 < added["devices_other"] < counters["devices_other"]
    assert {name: number for name, number in added.items() if number} == expected
    lines = rejected_of(output)
    assert [line["row"] for line in lines if line["reason"] != "too_late"] == [201, 201, 202, 202]
    assert len(lines) == 4 + late


def test_ages_and_counters_of_users(tmp_path):
    """The newer file knows more users, and one as older than before."""
    rows = spread(4)
    cut = sorted(row["timestamp"] for row in rows)[len(rows) // 2]
    older = [row for row in rows if row["timestamp"] < cut]
    newer = [row for row in rows if row["timestamp"] >= cut]
    first, second = (
        write_json_lines(tmp_path / f"{number}.jsonl", own)
        for number, own in enumerate((older, newer))
    )
    known = sorted({row["user_id"] for row in older})
    fresh = sorted({row["user_id"] for row in newer} - set(known))
    assert len(known) > 3
    assert fresh
    of_older = write_users(tmp_path / "a.csv", {known[0]: 31, known[1]: 20, "nobody": 9}, "x,old")
    of_newer = write_users(tmp_path / "b.csv", {known[1]: 44, known[2]: 12, fresh[0]: 70})
    output = tmp_path / "sessions"
    sessionize(config_of(output, [first], users=str(of_older), max_bad_fraction=1.0))
    shutil.copytree(output, tmp_path / "before")
    assert ages(output) == {known[0]: 31, known[1]: 20}
    add(output, second)
    without = content(output)
    assert ages(output) == {known[0]: 31, known[1]: 20}
    names = ("users_read", "users_without_listens", "users_with_age", "rejected_users_bad_age")
    assert [counters_of(output)[name] for name in names] == [4, 1, 2, 1]
    assert [line["file"] for line in rejected_of(output)] == [str(of_older)]
    shutil.rmtree(output)
    sessionize(config_of(output, [first, second], users=str(of_older), max_bad_fraction=1.0))
    assert_equal(without, content(output))

    output = tmp_path / "before"
    add(output, second, users=str(of_newer))
    assert ages(output) == {known[0]: 31, known[1]: 44, known[2]: 12, fresh[0]: 70}
    counters = counters_of(output)
    assert [counters.get(name, 0) for name in names] == [3, 0, 4, 0]
    assert rejected_of(output) == []
    assert open_sessions(output).manifest.options["users"] == str(of_newer)


def write_users(path: Path, ages: dict[str, int], *lines: str) -> Path:
    rows = [f"{user},{age}" for user, age in ages.items()]
    return write_bytes(path, "\n".join(["user_id,age", *rows, *lines]).encode())


def ages(output: Path) -> dict[str, int]:
    table = read_all(open_sessions(output))
    users = zip(table.user_id.tolist(), table.user_age.tolist(), strict=True)
    return {user.decode(): age for user, age in users if age != -1}


def test_hashed_ids_stay_hashed_by_the_same_key(tmp_path):
    key, other = (write_bytes(tmp_path / name, name.encode() * 20) for name in ("key", "other"))
    rows = spread(5)
    cut = sorted(row["timestamp"] for row in rows)[len(rows) * 3 // 4]
    late = {**min(rows, key=lambda row: row["timestamp"]), "timestamp": 5}
    logs = [
        [row for row in rows if row["timestamp"] < cut],
        [row for row in rows if row["timestamp"] >= cut],
    ]
    assert late["user_id"] in reopened(logs[0])
    paths = [
        write_json_lines(tmp_path / f"{2 - number}.jsonl", own + bad(number))
        for number, own in enumerate([logs[0], [*logs[1], late]])
    ]
    output = tmp_path / "sessions"
    options = {"hash_ids": str(key), "max_bad_fraction": 1.0}
    sessionize(config_of(output, paths[:1], **options))
    for wrong in ({}, {"hash_ids": str(other)}):
        with pytest.raises(UserError, match="other ids than --append would give it"):
            add(output, paths[1], **wrong)
    add(output, paths[1], **options)
    lines = rejected_of(output)
    assert [line["file"] for line in lines] == [
        *["file 1 of 1 of --listens"] * 2,
        *["file 2 of 2 of --listens"] * 3,
    ]
    (kept,) = (json.loads(line["content"]) for line in lines if line["reason"] == "too_late")
    assert "track_id" not in kept
    assert len(kept["user_id"]) == 64
    found = content(output)
    everything = b"".join(found.values())
    assert late["user_id"].encode() not in everything
    assert str(tmp_path).encode() not in everything.replace(str(output).encode(), b"")
    whole = tmp_path / "whole"
    write_json_lines(paths[1], logs[1] + bad(1))
    sessionize(config_of(whole, paths, **options))
    expected = content(whole)
    rejected = {f"rejected.jsonl-0000{number}-of-00002" for number in range(2)}
    assert expected.keys() == found.keys() > rejected
    same = {name for name, data in expected.items() if found[name] == data}
    assert expected.keys() - same == {"manifest.json", "state/inputs.json", *rejected}
