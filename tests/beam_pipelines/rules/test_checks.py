"""Every reason against a row, alone and with others, and what clean listens look like."""

import json

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.checks import CLEAN_SCHEMA, LAST_TIMESTAMP, check_listens
from beam_pipelines.rules.rows import RawListens, RejectedRow

GOOD: dict[str, str | None] = {
    "user_id": "u",
    "track_id": "t",
    "timestamp": "1554076800",
    "ms_played": "10",
    "skipped": "true",
    "device": "Tablet",
    "stream_source": "charts",
    "utc_offset_minutes": "-60",
    "track_duration_ms": "100",
}


def raw(*rows: dict[str, str | None], first: int = 1) -> RawListens:
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in GOOD}
    return RawListens(columns, np.arange(first, first + len(rows)))


def test_a_clean_listen():
    checked = check_listens(raw(GOOD))
    assert checked.clean.schema == CLEAN_SCHEMA
    assert checked.clean.to_pylist() == [
        {
            "user_id": "u",
            "track_id": "t",
            "timestamp": 1554076800,
            "ms_played": 10,
            "skipped": 1,
            "device": 5,
            "stream_source": "charts",
            "utc_offset_minutes": -60,
            "track_duration_ms": 100,
        }
    ]
    assert checked.rejected == ()


def test_nullable_columns_may_be_null_or_absent():
    optional = [name for name in GOOD if name not in ("user_id", "track_id", "timestamp")]
    null = check_listens(raw({**GOOD, **dict.fromkeys(optional)}))
    absent = {name: column for name, column in raw(GOOD).columns.items() if name not in optional}
    assert null.clean == check_listens(RawListens(absent, np.array([1]))).clean
    (row,) = null.clean.to_pylist()
    assert [row[name] for name in optional] == [-1, -1, 0, None, 0, -1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user_id": None}, "missing_user_id"),
        ({"track_id": ""}, "missing_track_id"),
        ({"timestamp": " "}, "missing_timestamp"),
        ({"timestamp": "noon"}, "bad_timestamp"),
        ({"timestamp": "-1"}, "timestamp_out_of_range"),
        ({"timestamp": str(LAST_TIMESTAMP + 1)}, "timestamp_out_of_range"),
        ({"timestamp": "9999-12-31T00:00:00Z"}, "timestamp_out_of_range"),
        ({"ms_played": "1.5"}, "bad_ms_played"),
        ({"ms_played": "-1"}, "negative_ms_played"),
        ({"track_duration_ms": "-1"}, "negative_track_duration_ms"),
        ({"skipped": "2"}, "bad_skipped"),
        ({"utc_offset_minutes": "1081"}, "utc_offset_minutes_out_of_range"),
        ({"user_id": None, "ms_played": "-1"}, "missing_user_id"),
    ],
)
def test_a_row_is_rejected_with_its_first_reason(changes, reason):
    checked = check_listens(raw(GOOD, {**GOOD, **changes}, {**GOOD, "track_id": "v"}, first=40))
    assert checked.clean["track_id"].to_pylist() == ["t", "v"]
    (rejected,) = checked.rejected
    assert (rejected.row, rejected.reason) == (41, reason)
    assert json.loads(rejected.content or "") == {**GOOD, **changes}


def test_the_limits_themselves_are_fine():
    edges = [
        {"timestamp": "0"},
        {"timestamp": str(LAST_TIMESTAMP)},
        {"utc_offset_minutes": "-1080"},
        {"ms_played": "0"},
    ]
    checked = check_listens(raw(*({**GOOD, **edge} for edge in edges)))
    assert checked.clean.num_rows == len(edges)


def test_unknown_devices_become_other_and_are_counted():
    rows = [{**GOOD, "device": device} for device in ("toaster", None, "MOBILE", "other")]
    checked = check_listens(raw(*rows, {**rows[0], "user_id": None}))
    assert checked.clean["device"].to_pylist() == [6, 0, 1, 6]
    assert checked.other_devices == 2


def test_malformed_rows_are_rejected_too():
    malformed = (RejectedRow(2, "malformed", "{"),)
    checked = check_listens(RawListens({}, np.zeros(0, np.int64), malformed))
    assert checked.clean.num_rows == 0
    assert checked.rejected == malformed


def test_bytes_that_are_not_text_are_shown_as_escapes():
    columns = {name: column.cast(pa.binary()) for name, column in raw(GOOD).columns.items()}
    columns["track_id"] = pa.array([b"a\xff"], pa.binary())
    (rejected,) = check_listens(RawListens(columns, np.array([1]))).rejected
    assert rejected.reason == "bad_track_id"
    assert json.loads(rejected.content or "")["track_id"] == "a\\xff"


def test_values_that_python_cannot_hold_are_shown_all_the_same():
    text = pa.array([b"a\xff"], pa.binary())
    values = {
        "user_id": pa.Array.from_buffers(pa.string(), 1, text.buffers()),
        "track_id": pa.array(["t" * 10**6]),
        "timestamp": pa.array([2**62], pa.timestamp("ns")),
        "ms_played": pa.array([2**62], pa.timestamp("s", "Mars/Base")),
        "device": pa.Array.from_buffers(pa.string(), 1, text.buffers()).dictionary_encode(),
        "stream_source": pa.ListArray.from_arrays(
            [0, 1], pa.Array.from_buffers(pa.string(), 1, text.buffers())
        ),
        "track_duration_ms": pa.array([2**64 - 1], pa.uint64()),
    }
    (rejected,) = check_listens(RawListens(values, np.array([7]))).rejected
    assert (rejected.row, rejected.reason) == (7, "bad_user_id")
    assert json.loads(rejected.content or "") == {
        "user_id": "a\\xff",
        "track_id": "t" * 1_000 + "…",
        "timestamp": "4611686018427387904 timestamp[ns]",
        "ms_played": "4611686018427387904 timestamp[s, tz=Mars/Base]",
        "device": "a\\xff",
        "stream_source": "? list<item: string>",
        "track_duration_ms": 2**64 - 1,
    }


@pytest.mark.parametrize("name", ["user_id", "track_id", "device", "stream_source"])
def test_text_that_is_not_utf8_is_rejected_whatever_its_type_says(name):
    columns = {**raw(GOOD, {**GOOD, "track_id": "v"}).columns}
    data = pa.array([b"a\xff", b"b"], pa.binary())
    columns[name] = pa.Array.from_buffers(pa.string(), 2, data.buffers())
    checked = check_listens(RawListens(columns, np.array([1, 2])))
    assert [(row.row, row.reason) for row in checked.rejected] == [(1, f"bad_{name}")]
    assert checked.clean.num_rows == 1
    checked.clean.validate(full=True)
