"""The vocabulary of the project, written out: what files and models of other versions rely on."""

import numpy as np
import pyarrow as pa
import pytest

from cosernn_tf import schema
from cosernn_tf.schema import Per


@pytest.mark.parametrize(
    ("period", "hours"),
    [
        ("night", [1, 2, 3, 4, 5]),
        ("early morning", [6, 7, 8]),
        ("morning", [9, 10, 11]),
        ("afternoon", [12, 13, 14, 15, 16]),
        ("evening", [17, 18, 19, 20]),
        ("late evening", [21, 22, 23, 0]),
    ],
)
def test_periods_of_the_day(period, hours):
    row = schema.PERIODS.index(period)
    of_period = [hour for hour in range(24) if schema.PERIOD_OF_HOUR[hour] == row]
    assert of_period == sorted(hours)


def test_periods_are_in_the_order_of_the_day():
    assert schema.PERIODS == (
        "night",
        "early morning",
        "morning",
        "afternoon",
        "evening",
        "late evening",
    )
    assert schema.PERIOD_OF_HOUR.shape == (24,)


@pytest.mark.parametrize(
    ("bucket", "first", "last"),
    [
        (1, 0, 17),
        (2, 18, 24),
        (3, 25, 29),
        (4, 30, 34),
        (5, 35, 44),
        (6, 45, 54),
        (7, 55, 120),
    ],
)
def test_ages_of_a_bucket(bucket, first, last):
    ages = np.arange(-1, 121)
    expected = [age for age in ages if first <= age <= last]
    assert ages[schema.age_bucket(ages) == bucket].tolist() == expected


def test_an_unknown_age_is_bucket_0():
    buckets = schema.age_bucket(np.array([schema.AGE_UNKNOWN, -7, 0]))
    assert buckets.tolist() == [0, 0, 1]
    assert buckets.dtype == np.int32
    assert schema.NUM_AGE_BUCKETS == 8


def test_devices_and_lengths():
    assert schema.DEVICES == (
        "unknown",
        "mobile",
        "desktop",
        "speaker",
        "web",
        "tablet",
        "other",
    )
    assert schema.DAYS_OF_WEEK[0] == "Monday"
    assert schema.DAYS_OF_WEEK[6] == "Sunday"
    assert (schema.SESSION_GAP_SECONDS, schema.SECONDS_PER_DAY) == (1200, 86400)
    assert (schema.VALIDATION_DAYS, schema.TEST_DAYS) == (5, 14)
    assert (schema.EMBEDDING_DIM, schema.MAX_TRACKS_PER_SESSION) == (40, 10)


def test_listens():
    assert (
        pa.schema(
            [
                pa.field("user_id", pa.string(), nullable=False),
                pa.field("track_id", pa.string(), nullable=False),
                pa.field("timestamp", pa.int64(), nullable=False),
                pa.field("ms_played", pa.int64()),
                pa.field("skipped", pa.bool_()),
                pa.field("device", pa.string()),
                pa.field("stream_source", pa.string()),
                pa.field("utc_offset_minutes", pa.int32()),
                pa.field("track_duration_ms", pa.int64()),
            ]
        )
        == schema.LISTEN_SCHEMA
    )
    assert (
        pa.schema([pa.field("user_id", pa.string(), nullable=False), pa.field("age", pa.int64())])
        == schema.USER_SCHEMA
    )


def test_session_features():
    """A change here is a new `SCHEMA_VERSION`: readers refuse what they would misread."""
    assert schema.SCHEMA_VERSION == 1
    assert [(f.name, f.per, f.dtype) for f in schema.SESSION_FEATURES] == [
        ("user_id", Per.USER, np.bytes_),
        ("user_age", Per.USER, np.int64),
        ("session_start", Per.SESSION, np.int64),
        ("day_of_week", Per.SESSION, np.int64),
        ("hour", Per.SESSION, np.int64),
        ("device", Per.SESSION, np.int64),
        ("stream_source", Per.SESSION, np.int64),
        ("num_tracks", Per.SESSION, np.int64),
        ("seconds_since_last", Per.SESSION, np.int64),
        ("track", Per.TRACK, np.int64),
        ("skipped", Per.TRACK, np.int64),
    ]
    assert [per.value for per in Per] == ["()", "(T,)", "(T, 10)"]
    assert (schema.TRACK_PADDING, schema.TRACK_CUT, schema.SKIPPED_PADDING) == (-1, -2, -1)


def test_model_inputs():
    """Saved models and exports take these by name."""
    assert [(i.name, i.per, i.shape, i.dtype) for i in schema.MODEL_INPUTS] == [
        ("age_bucket", Per.USER, (), "int32"),
        ("user_id", Per.USER, (), "string"),
        ("day_of_week", Per.SESSION, (), "int32"),
        ("hour", Per.SESSION, (), "int32"),
        ("device", Per.SESSION, (), "int32"),
        ("last_played", Per.SESSION, (40,), "float32"),
        ("last_skipped", Per.SESSION, (40,), "float32"),
        ("last_all", Per.SESSION, (40,), "float32"),
        ("last_num_tracks", Per.SESSION, (), "float32"),
        ("last_stream_source", Per.SESSION, (), "int32"),
        ("seconds_since_last", Per.SESSION, (), "float32"),
        ("current_stream_source", Per.SESSION, (), "int32"),
        ("long_term", Per.SESSION, (40,), "float32"),
    ]


def test_features_are_the_rows_of_table_3():
    """§6.4.1, with s⁺ and s⁻ as one group, and z_t as the hypothetical sixth."""
    assert schema.FEATURES == (
        "last_session", "context", "num_tracks", "gap", "stream_source", "current_stream_source"
    )  # fmt: skip
    assert schema.FEATURES[:5] == schema.DEFAULT_FEATURES
    groups = {
        feature: [i.name for i in schema.MODEL_INPUTS if i.feature == feature]
        for feature in schema.FEATURES
    }
    assert groups == {
        "last_session": ["last_played", "last_skipped", "last_all"],
        "context": ["day_of_week", "hour", "device"],
        "num_tracks": ["last_num_tracks"],
        "gap": ["seconds_since_last"],
        "stream_source": ["last_stream_source"],
        "current_stream_source": ["current_stream_source"],
    }
    pathways = {i.name: i.pathway for i in schema.MODEL_INPUTS if i.pathway}
    assert pathways == {f"last_{name}": name for name in ("played", "skipped", "all")}


@pytest.mark.parametrize(
    "entries", [schema.LISTEN_COLUMNS, schema.SESSION_FEATURES, schema.MODEL_INPUTS]
)
def test_every_entry_says_what_it_means(entries):
    names = [entry.name for entry in entries]
    assert len(set(names)) == len(names)
    assert all(len(entry.meaning) > 5 for entry in entries)
