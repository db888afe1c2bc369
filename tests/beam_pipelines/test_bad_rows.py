"""Bad rows of every kind, through the real job: each is counted and kept aside, no other is.

One run reads a folder with a file a case. A case's good rows have its name as their user, so that
what was kept of it can be told from the output.
"""

import dataclasses
import datetime
import decimal
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beam_pipelines.config import SessionizeConfig
from beam_pipelines.job import sessionize
from beam_pipelines.rules.checks import MAX_TEXT_BYTES
from cosernn_tf.dataset import read_all
from cosernn_tf.errors import UserError
from cosernn_tf.workspace import open_sessions

from .files import write_bytes

Expected = tuple[list[str], list[tuple[int, str]]]
"""The tracks that are kept, in the order of time, and (row, reason) of the others."""

T = 1_554_076_800
"""Time of a case's first row; each row is a minute after the one before."""
LONG = 10_000_000


def stamp(row: int) -> int:
    return T + 60 * row


# Delimited text: the same cases as CSV and as TSV ------------------------------------------------

HEADER = "user_id,track_id,timestamp,ms_played,device\n"


def line(track: str, row: int, *, time: object = None, ms: object = 5, device: str = "web") -> str:
    return f"@,{track},{stamp(row) if time is None else time},{ms},{device}\n"


A, B, C = line("a", 1), line("b", 2), line("c", 3)
BAD_TIMES = ["NaN", "inf", "1e300", "1.5e9", "9" * 19, "true", "2019-04-01", "2019-02-30T00:00:00Z"]
TIMES_OUTSIDE = ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "-5", f"{T}000", "9" * 18]
BAD_NUMBERS = ["NaN", "inf", "1e300", "1.5", "9" * 19, "true", "0x10"]


DELIMITED: dict[str, tuple[str | bytes, Expected]] = {
    "plain": (HEADER + A + B, (["a", "b"], [])),
    "bom": ("\ufeff" + HEADER + A, (["a"], [])),
    "crlf": ((HEADER + A + B).replace("\n", "\r\n"), (["a", "b"], [])),
    "cr": ((HEADER + A + B).replace("\n", "\r"), (["a", "b"], [])),
    "no_final_newline": ((HEADER + A + B).removesuffix("\n"), (["a", "b"], [])),
    "blank_lines": (HEADER + "\n" + A + "\n\n" + B + "@,x\n", (["a", "b"], [(3, "malformed")])),
    "quoted": (
        HEADER
        + line('"a,b\tc"', 1)
        + line('"d\ne\r\nf"', 2)
        + "@,y\n"
        + line('"g ""h"""', 3)
        + line('i" j', 4),
        (["a,b\tc", "d\ne\r\nf", 'g "h"', 'i" j'], [(3, "malformed")]),
    ),
    "ragged": (
        HEADER + A + "@,b\n" + B + "@,c,1,2,web,3\n" + C + "@\n",
        (["a", "b", "c"], [(2, "malformed"), (4, "malformed"), (6, "malformed")]),
    ),
    "not_utf8": (
        HEADER.encode()
        + A.encode()
        + b"@,\xff,5,5,web\n\xfe@,t,5,5,web\n@,t,5,5,w\xfcb\n"
        + B.encode(),
        (["a", "b"], [(2, "bad_track_id"), (3, "bad_user_id"), (4, "bad_device")]),
    ),
    "nul": (
        HEADER + line("a\0b", 1) + line("c", 2, time=f"{T}\0") + "\0" * 5_000,
        (["a\0b"], [(2, "bad_timestamp"), (3, "malformed")]),
    ),
    "missing": (
        HEADER + A + f",a,{T},,\n@,,{T},,\n@,a,,,\n" + line("b", 2, ms="", device=""),
        (["a", "b"], [(2, "missing_user_id"), (3, "missing_track_id"), (4, "missing_timestamp")]),
    ),
    "times": (
        HEADER
        + "".join(line("x", 0, time=time) for time in BAD_TIMES + TIMES_OUTSIDE)
        + line("a", 1, time=f"{stamp(1)}.9")
        + line("b", 2, time="20190401T000200Z")
        + line("c", 3, time="2019-04-01 02:03:00+02:00"),
        (
            ["a", "b", "c"],
            [(row, "bad_timestamp") for row in range(1, len(BAD_TIMES) + 1)]
            + [(len(BAD_TIMES) + row, "timestamp_out_of_range") for row in range(1, 6)],
        ),
    ),
    "numbers": (
        HEADER
        + "".join(line("x", 0, ms=number) for number in BAD_NUMBERS)
        + line("x", 0, ms=-1)
        + line("a", 1, ms="007.0")
        + line("b", 2, ms=10**17),
        (
            ["a", "b"],
            [*((row, "bad_ms_played") for row in range(1, 8)), (8, "negative_ms_played")],
        ),
    ),
    "long_line": (
        HEADER
        + A
        + line("b", 2, device="d" * MAX_TEXT_BYTES)
        + line("x", 0, device="d" * LONG)
        + line("x" * LONG, 0)
        + f"@,x,{'9' * LONG},,\n"
        + C
        + f"@,{'x' * LONG}\n",
        (
            ["a", "b", "c"],
            [
                *((3, "too_long_device"), (4, "too_long_track_id")),
                *((5, "bad_timestamp"), (7, "malformed")),
            ],
        ),
    ),
    "opaque_ids": (
        HEADER + line("../../etc/passwd", 1) + line("😀" * 1024, 2) + line(" ", 3),
        (["../../etc/passwd", "😀" * 1024, " "], []),
    ),
    "without_optional_columns": ("track_id,timestamp,user_id\n" + f"a,{T},@\n", (["a"], [])),
    "header_only": (HEADER, ([], [])),
}

# JSON Lines --------------------------------------------------------------------------------------


def row(track: object, number: int, **changes: object) -> str:
    fields = {"user_id": "@", "track_id": track, "timestamp": stamp(number), **changes}
    return json.dumps(fields) + "\n"


JA, JB, JC = row("a", 1), row("b", 2), row("c", 3)
MIXED = ["soon", True, None, [1], {"a": 1}, float("nan"), float("inf"), 1e300, 10**19]
MIXED_REASONS = [
    *("bad_timestamp", "bad_timestamp", "missing_timestamp", "malformed", "malformed"),
    *("missing_timestamp", "bad_timestamp", "bad_timestamp", "bad_timestamp", "malformed"),
]

JSON_LINES: dict[str, tuple[str | bytes, Expected]] = {
    "plain": (JA + JB, (["a", "b"], [])),
    "bom": ("\ufeff" + JA + JB, (["a", "b"], [])),
    "crlf": ((JA + JB).replace("\n", "\r\n"), (["a", "b"], [])),
    "cr": ((JA + JB).replace("\n", "\r"), (["a", "b"], [])),
    "no_final_newline": ((JA + JB).removesuffix("\n"), (["a", "b"], [])),
    "blank_lines": ("\n" + JA + " \n\n" + JB + "{\n", (["a", "b"], [(3, "malformed")])),
    "no_objects": (
        JA + '[1]\n7\n"@"\nnull\n' + JB + '{"user_id": "@", "tra',
        (["a", "b"], [(number, "malformed") for number in (2, 3, 4, 5, 7)]),
    ),
    "two_on_a_line": (JA.strip() + JA + JB, (["b"], [(1, "malformed")])),
    "twice_the_same_name": (JA + JB[:-2] + ', "track_id": "x"}\n', (["a"], [(2, "malformed")])),
    "not_utf8": (
        (JA + JB).encode()
        + b'{"user_id": "@\xff", "track_id": "t", "timestamp": 5}\n'
        + b'{"user_id": "@", "track_id": "t", "timestamp": 5, "device": "w\xfcb"}\n'
        + b'{"user_id": "@", "track_id": "t", "timestamp": 5, "d\xfcvice": "web"}\n',
        (["a", "b"], [(3, "malformed"), (4, "malformed"), (5, "malformed")]),
    ),
    "no_text": (
        row("\ud800", 1) + JB + row("c", 3, device="\udfff"),
        (["b"], [(1, "malformed"), (3, "malformed")]),
    ),
    "nul": (row("a\0b", 1) + JB + "\0" * 5_000, (["a\0b", "b"], [(3, "malformed")])),
    "raw_nul": (JA + '{"user_id": "@", "track_id": "\0"}\n', (["a"], [(2, "malformed")])),
    "mixed_types": (
        "".join(row("x", 0, timestamp=time) for time in MIXED)
        + row("x", 0, timestamp="many nines").replace('"many nines"', "9" * 5_000)
        + row("a", 1, timestamp=float(stamp(1)))
        + row("b", 2, timestamp=str(stamp(2)))
        + row("c", 3, timestamp="2019-04-01T00:03:00Z"),
        (["a", "b", "c"], list(enumerate(MIXED_REASONS, start=1))),
    ),
    "floats": (
        row("a", 1, timestamp=1.5540768e9) + row("b", 2, timestamp=-1.5),
        (["a"], [(2, "timestamp_out_of_range")]),
    ),
    "times_all_text": (
        row("a", 1, timestamp="2019-04-01T00:01:00Z") + row("b", 2, timestamp="2019-04-01"),
        (["a"], [(2, "bad_timestamp")]),
    ),
    "null_numbers": (
        row("a", 1, ms_played=float("nan")) + row("b", 2, ms_played=None),
        (["a", "b"], []),
    ),
    "number_ids": (
        row(7, 1) + row(1.5, 2) + row(True, 3),
        (["7"], [(2, "malformed"), (3, "malformed")]),
    ),
    "nested": (JA + row("b", 2, device={"a": 1}) + JC, (["a", "c"], [(2, "malformed")])),
    "deep": (JA + "[" * 10**5 + "]" * 10**5 + "\n" + JB, (["a", "b"], [(2, "malformed")])),
    "long_line": (
        JA + row("x", 0, device="d" * LONG) + row("x" * LONG, 0) + JC,
        (["a", "c"], [(2, "too_long_device"), (3, "too_long_track_id")]),
    ),
    "over_long_line": (
        JA + row("b", 2, device="d" * 40_000_000) + JC,
        (["a", "c"], [(2, "malformed")]),
    ),
    "booleans": (
        row("a", 1, skipped="TRUE") + row("b", 2, skipped=2),
        (["a"], [(2, "bad_skipped")]),
    ),
    "without_columns": ("{}\n" + JA, (["a"], [(1, "missing_user_id")])),
}

# Parquet -----------------------------------------------------------------------------------------


def not_utf8(*values: bytes) -> pa.Array:
    """Text by its type only."""
    return pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())


def table(**columns: pa.Array | list[object]) -> Callable[[str], pa.Table]:
    """A table of as many rows as the columns have; the others are good."""
    count = len(next(iter(columns.values())))
    good: dict[str, object] = {
        "track_id": [f"t{number}" for number in range(count)],
        "timestamp": [stamp(number) for number in range(count)],
    }
    return lambda user: pa.table({"user_id": [user] * count, **good, **columns})


FAR = [2**62, T * 10**6]
PARQUET: dict[str, tuple[Callable[[str], pa.Table], Expected]] = {
    "plain": (table(ms_played=[5, None]), (["t0", "t1"], [])),
    "not_utf8": (table(track_id=not_utf8(b"\xff", b"b")), (["b"], [(1, "bad_track_id")])),
    "not_utf8_device": (table(device=not_utf8(b"web", b"\xff")), (["t0"], [(2, "bad_device")])),
    "not_utf8_dictionary": (
        table(track_id=not_utf8(b"\xff", b"b").dictionary_encode()),
        (["b"], [(1, "bad_track_id")]),
    ),
    "far_times": (
        table(timestamp=pa.array(FAR, pa.timestamp("us"))),
        (["t1"], [(1, "timestamp_out_of_range")]),
    ),
    "far_times_nowhere": (
        table(timestamp=pa.array(FAR, pa.timestamp("us", "Mars/Base"))),
        (["t1"], [(1, "timestamp_out_of_range")]),
    ),
    "text_times": (
        table(timestamp=["2019-04-01T00:00:00Z", "soon"]),
        (["t0"], [(2, "bad_timestamp")]),
    ),
    "dates": (table(timestamp=[datetime.date(2019, 4, 1)]), ([], [(1, "bad_timestamp")])),
    "decimals": (table(timestamp=[decimal.Decimal(f"{T}.5")]), (["t0"], [])),
    "floats": (
        table(timestamp=[float("nan"), float("inf"), 1e300, float(T), None]),
        (
            ["t3"],
            [
                (1, "missing_timestamp"),
                (2, "bad_timestamp"),
                (3, "bad_timestamp"),
                (5, "missing_timestamp"),
            ],
        ),
    ),
    "integers": (
        table(timestamp=[2**63 - 1, -(2**63), T]),
        (["t2"], [(1, "timestamp_out_of_range"), (2, "timestamp_out_of_range")]),
    ),
    "unsigned": (
        table(ms_played=pa.array([2**64 - 1, 5], pa.uint64())),
        (["t1"], [(1, "bad_ms_played")]),
    ),
    "durations": (
        table(ms_played=pa.array([5, None], pa.duration("s"))),
        (["t1"], [(1, "bad_ms_played")]),
    ),
    "booleans": (
        table(skipped=[1.0, 0.0, float("nan"), 0.5]),
        (["t0", "t1", "t2"], [(4, "bad_skipped")]),
    ),
    "lists": (table(device=[["web"], None]), (["t1"], [(1, "bad_device")])),
    "nulls": (table(track_id=pa.nulls(1)), ([], [(1, "missing_track_id")])),
}

Content = str | bytes | Callable[[str], pa.Table]


def all_cases() -> dict[str, tuple[Content, Expected]]:
    """By the name of the file."""
    cases: dict[str, tuple[Content, Expected]] = {}
    for form, (content, expected) in DELIMITED.items():
        cases[f"{form}.csv"] = content, expected
        if form != "quoted":
            data = content if isinstance(content, bytes) else content.encode()
            cases[f"{form}.tsv"] = data.replace(b",", b"\t"), expected
    cases |= {f"{form}.jsonl": case for form, case in JSON_LINES.items()}
    cases |= {f"{form}.parquet": case for form, case in PARQUET.items()}
    one_bad: Expected = (["a", "c"], [(2, "malformed")])
    for compression in ("gz", "zst", "bz2"):
        cases[f"compressed.csv.{compression}"] = HEADER + A + "@,b\n" + C, one_bad
        cases[f"compressed.json.{compression}"] = JA + "{\n" + JC, one_bad
    return cases | {"empty.csv": ("", ([], [])), "empty.parquet": ("", ([], []))}


CASES = all_cases()


def write_case(path: Path, content: Content) -> None:
    if callable(content):
        pq.write_table(content(path.name), path, row_group_size=1)
    else:
        data = content if isinstance(content, bytes) else content.encode()
        write_bytes(path, data.replace(b"@", path.name.encode()))


@dataclass(frozen=True)
class Outcome:
    """What the job made of the cases."""

    kept: dict[str, list[str]]
    rejected: dict[str, list[dict[str, Any]]]
    counters: Mapping[str, int]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory) -> Outcome:
    root = tmp_path_factory.mktemp("bad")
    for name, (content, _) in CASES.items():
        write_case(root / "log" / name, content)
    config = SessionizeConfig(
        listens=(str(root / "log"),), output=root / "out", num_shards=1, max_bad_fraction=1
    )
    manifest = sessionize(config)
    directory = open_sessions(config.output)
    track_ids = directory.tracks["track_id"].to_pylist()
    sessions = read_all(directory)
    splits = sessions.row_splits.tolist()
    kept: dict[str, list[str]] = {}
    for user, first, last in zip(sessions.user_id, splits, splits[1:], strict=False):
        tracks = sessions.track[first:last].ravel()
        kept[user.decode()] = [track_ids[track] for track in tracks if track >= 0]
    rejected: dict[str, list[dict[str, Any]]] = {}
    for path in config.output.glob("rejected.jsonl-*"):
        for text in path.read_text("utf-8").splitlines():
            found = json.loads(text)
            rejected.setdefault(Path(found["file"]).name, []).append(found)
    return Outcome(kept, rejected, manifest.counters)


@pytest.mark.parametrize("name", CASES)
def test_bad_rows_are_kept_aside_and_the_others_kept(outcome, name):
    _, (kept, rejected) = CASES[name]
    assert outcome.kept.get(name, []) == kept
    found = outcome.rejected.get(name, [])
    assert [(row["row"], row["reason"]) for row in found] == sorted(rejected)
    assert all(len(row["content"]) < 10_000 for row in found)


def test_every_row_is_counted(outcome):
    counters = outcome.counters
    found = {n.removeprefix("rejected_"): c for n, c in counters.items() if "rejected_" in n and c}
    reasons = Counter(reason for _, (_, rejected) in CASES.values() for _, reason in rejected)
    assert found == reasons
    assert counters["kept"] == sum(len(kept) for _, (kept, _) in CASES.values())
    assert counters["read"] == counters["kept"] + reasons.total()
    assert counters["devices_other"] == 2  # of the long lines


def test_the_limit_of_bad_rows_is_exact(tmp_path):
    """Of 100 rows, one may be bad by default."""
    rows = [line("t", number) for number in range(99)]
    log, output = tmp_path / "log.csv", tmp_path / "sessions"
    config = SessionizeConfig(listens=(str(log),), output=output, num_shards=1)
    log.write_text(HEADER + "".join([*rows, "bad\n"]))
    assert sessionize(config).counters["kept"] == 99
    log.write_text(HEADER + "".join([*rows[1:], "bad\n", "bad\n"]))
    with pytest.raises(UserError, match=r"^2 of 100 rows of --listens=.*row 99: bad"):
        sessionize(config)
    assert open_sessions(output).manifest.counters["kept"] == 99
    manifest = sessionize(dataclasses.replace(config, max_bad_fraction=0.02))
    assert manifest.counters["kept"] == 98
    assert manifest.options["max_bad_fraction"] == 0.02
