"""Times on the command line."""

from datetime import timedelta

import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.rfc3339 import parse_time


@pytest.mark.parametrize(
    ("text", "second", "offset_minutes"),
    [
        ("2019-06-01T08:00:00+02:00", 1_559_368_800, 120),
        ("2019-06-01t06:00:00z", 1_559_368_800, 0),
        ("2019-06-01 06:00", 1_559_368_800, 0),
        ("2019-06-01T00:30:00.25-05:30", 1_559_368_800.25, -330),
        ("1970-01-01T00:00:00Z", 0, 0),
    ],
)
def test_parses(text, second, offset_minutes):
    time = parse_time(text, flag="at")
    assert time.timestamp() == second
    assert time.utcoffset() == timedelta(minutes=offset_minutes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2019-06-01",
        "20190601T080000Z",
        "2019-W22-6T08:00:00Z",
        "2019-02-29T08:00:00Z",
        "2019-06-01T24:01:00Z",
        "2019-06-01T08:00:00+2",
        "2019-06-01T08:00:00+25:00",
        " 2019-06-01T08:00:00Z",
        "1559368800",
        "٢٠١٩-06-01T08:00:00Z",
    ],
)
def test_refuses_what_is_no_rfc_3339_time(text):
    with pytest.raises(UserError, match=r"--at=.* is no date and time .*2019-06-01T08:00:00"):
        parse_time(text, flag="at")
