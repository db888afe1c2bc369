"""Columns of every type that a file may give, value by value."""

import datetime
import decimal

import pyarrow as pa
import pytest

from beam_pipelines.rules.parsing import parse_bool, parse_int, parse_text, parse_time

UTC = datetime.UTC
BAD = object()


def not_utf8(kind: pa.DataType) -> pa.Array:
    """Text by its type only: "ü", a byte of Latin-1, null."""
    is_large = kind == pa.large_string()
    plain = pa.array([b"\xc3\xbc", b"\xff", None], pa.large_binary() if is_large else pa.binary())
    return pa.Array.from_buffers(kind, len(plain), plain.buffers())


def check(parse, column: pa.Array, expected: list) -> None:
    values, bad = parse(column)
    assert bad.tolist() == [value is BAD for value in expected]
    assert values.to_pylist() == [None if value is BAD else value for value in expected]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["a", "", None, " b "]), ["a", None, None, " b "]),
        (pa.array([b"\xc3\xbc", b"\xff", None], pa.binary()), ["ü", BAD, None]),
        (pa.array([7, None, -1]), ["7", None, "-1"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        (pa.array([b"ab", b"\xff\xff"], pa.binary(2)), ["ab", BAD]),
        (pa.array(["a", None, ""], pa.large_string()), ["a", None, None]),
        (pa.array(["a", None, ""], pa.string_view()), ["a", None, None]),
        # Arrow does not check what Parquet and JSON call text.
        (not_utf8(pa.string()), ["ü", BAD, None]),
        (not_utf8(pa.large_string()), ["ü", BAD, None]),
        (not_utf8(pa.string()).dictionary_encode(), ["ü", BAD, None]),
        (pa.array([decimal.Decimal(7), None]), ["7", None]),
        # What has more than one text is no id.
        (pa.array([True, None]), [BAD, None]),
        (pa.array([2**62, None], pa.timestamp("s", "Mars/Base")), [BAD, None]),
        (pa.array([3, None], pa.duration("s")), [BAD, None]),
        (pa.array([1.0, None]), [BAD, None]),
        (pa.array([["a"], None]), [BAD, None]),
        (pa.nulls(2), [None, None]),
        (pa.chunked_array([["a"], ["b"]]), ["a", "b"]),
    ],
)
def test_text(column, expected):
    check(parse_text, column, expected)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([3, None, -4], pa.int32()), [3, None, -4]),
        (pa.array([2**64 - 1, 2**63, 2**63 - 1, None], pa.uint64()), [BAD, BAD, 2**63 - 1, None]),
        (pa.array([2.0, None, 2.5], pa.float16()), [2, None, BAD]),
        # Of which unit?
        (pa.array([5, None], pa.duration("ms")), [BAD, None]),
        (pa.array([5, None], pa.time32("s")), [BAD, None]),
        (pa.array([True, None]), [BAD, None]),
        (
            pa.array([3.0, None, 2.5, float("nan"), float("inf"), 1e300, -0.0]),
            [3, None, BAD, None, BAD, BAD, 0],
        ),
        (
            pa.array(["12", " 12 ", "+3", "-4", "5.0", "", None, "x", "1.5", "1e3", "0x10", "٣"]),
            [12, 12, 3, -4, 5, None, None, BAD, BAD, BAD, BAD, BAD],
        ),
        (pa.array(["9" * 18, "9" * 19, "9" * 40]), [10**18 - 1, BAD, BAD]),
        (
            pa.array(
                [str(2**63 - 1), str(2**63), f"-{2**63 - 1}", f"+{2**63 - 1}", "0" * 19, None]
            ),
            [2**63 - 1, BAD, -(2**63) + 1, 2**63 - 1, 0, None],
        ),
        (pa.array([b"12", b"\xff"], pa.binary()), [12, BAD]),
        (pa.nulls(1), [None]),
        (pa.array([[1], None]), [BAD, None]),
    ],
)
def test_int(column, expected):
    check(parse_int, column, expected)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([True, None, False]), [True, None, False]),
        (pa.array([1, 0, None, 2], pa.int8()), [True, False, None, BAD]),
        (
            pa.array(["TRUE", "false", " 1 ", "0", "yes", "No", "", "maybe", None]),
            [True, False, True, False, True, False, None, BAD, None],
        ),
        (pa.nulls(1), [None]),
        (pa.array([1.0, 0.0, None, float("nan"), 0.5, 2.0]), [True, False, None, None, BAD, BAD]),
        (pa.array(["1.0", "0.0"]), [True, False]),
        (pa.array([5], pa.timestamp("s")), [BAD]),
    ],
)
def test_bool(column, expected):
    check(parse_bool, column, expected)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1_554_076_800, None]), [1_554_076_800, None]),
        (pa.array([1.9, -0.5, None, float("nan")]), [1, -1, None, None]),
        (
            pa.array(["1554076800", "1554076800.75", " 5 ", "", None, "soon"]),
            [1_554_076_800, 1_554_076_800, 5, None, None, BAD],
        ),
        (
            pa.array(
                [
                    "2019-04-01T00:00:00Z",
                    "2019-04-01t02:00:00.999+02:00",
                    "2019-03-31 19:00:00-05:00",
                    "2019-04-01T00:00:00",
                    "1969-12-31T23:59:59.5Z",
                ]
            ),
            [1_554_076_800] * 4 + [-1],
        ),
        (
            pa.array(["2019-04-01T00:00:00Z", "2019-02-30T00:00:00Z", "9999-01-01T00:00:00Z"]),
            [1_554_076_800, BAD, 253_370_764_800],
        ),
        (
            pa.array([datetime.datetime(2019, 4, 1), None], pa.timestamp("us")),
            [1_554_076_800, None],
        ),
        (
            pa.array(
                [datetime.datetime(1969, 12, 31, 23, 59, 59, 1, UTC)], pa.timestamp("us", "UTC")
            ),
            [-1],
        ),
        (
            pa.array([datetime.datetime(2019, 4, 1, 0, 0, 0)], pa.timestamp("ns", "Europe/Berlin")),
            [1_554_076_800],
        ),
        # Beyond what other libraries can hold, and in a time zone that nobody knows.
        (
            pa.array([2**62, -(2**62), None], pa.timestamp("s", "Mars/Base")),
            [2**62, -(2**62), None],
        ),
        (pa.array([-(2**63) + 1], pa.timestamp("us")), [-9_223_372_036_855]),
        (pa.array([2**63 - 1], pa.timestamp("ns")), [9_223_372_036]),
        (pa.array([1.5, None], pa.float16()), [1, None]),
        (pa.array([float("inf"), 1e300, -1e300]), [BAD, BAD, BAD]),
        (pa.array([datetime.date(2019, 4, 1)]), [BAD]),
        (
            pa.array(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]),
            [253_402_300_799, -(62135596800)],
        ),
        (pa.array(["2500-05-01T00:00:00.5Z", "10000-01-01T00:00:00Z"]), [16_735_593_600, BAD]),
        (pa.nulls(1), [None]),
        (pa.array([[1]]), [BAD]),
    ],
)
def test_time(column, expected):
    check(parse_time, column, expected)
