"""The record reader against TensorFlow's parser, and against the writer."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.errors import UserError
from cosernn_tf.record_reader import read_records
from cosernn_tf.records import write_records
from cosernn_tf.schema import MAX_TRACKS_PER_SESSION, SESSION_FEATURES, Per
from cosernn_tf.table import SessionTable

from .test_records import TABLES
from .test_records import example as written

SHARD = Path("sessions/shard")


def parsed_by_tensorflow(table: SessionTable) -> SessionTable:
    types = {np.bytes_: tf.string, np.int64: tf.int64}
    specification = {
        feature.name: (
            tf.io.FixedLenFeature([], types[feature.dtype])
            if feature.per is Per.USER
            else tf.io.RaggedFeature(types[feature.dtype], row_splits_dtype=tf.int64)
        )
        for feature in SESSION_FEATURES
    }
    records = [written(table, user) for user in range(table.num_users)]
    parsed = tf.io.parse_example(tf.constant(records, tf.string), specification)
    columns = {}
    for feature in SESSION_FEATURES:
        values = parsed[feature.name]
        columns[feature.name] = (values if feature.per is Per.USER else values.values).numpy()
        if feature.per is Per.TRACK:
            columns[feature.name] = columns[feature.name].reshape(-1, MAX_TRACKS_PER_SESSION)
    return SessionTable(row_splits=parsed["session_start"].row_splits.numpy(), **columns)


def assert_equal(found: SessionTable, expected: SessionTable) -> None:
    for field in dataclasses.fields(SessionTable):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(a, b, err_msg=field.name)
        assert a.dtype == b.dtype, field.name


@pytest.mark.parametrize("name", TABLES)
def test_what_is_written_is_read(name):
    assert_equal(read_records(write_records(TABLES[name]), where=SHARD), TABLES[name])


@pytest.mark.parametrize("name", [name for name in TABLES if name != "no user"])
def test_it_reads_what_tensorflow_reads(name):
    table = TABLES[name]
    assert_equal(read_records(write_records(table), where=SHARD), parsed_by_tensorflow(table))


@pytest.mark.parametrize("name", TABLES)
def test_some_users_are_read(name):
    table = TABLES[name]
    chosen = np.arange(table.num_users) % 3 == 1
    users = {*table.user_id[chosen].tolist(), b"nobody"}
    # Ids of the tables repeat.
    rows = np.flatnonzero([user in users for user in table.user_id])
    found = read_records(write_records(table), where=SHARD, users=users)
    assert_equal(found, table.select_users(rows))


def framed(record: bytes) -> bytes:
    return len(record).to_bytes(8, "little") + bytes(4) + record + bytes(4)


def features_of(table: SessionTable) -> dict[str, tf.train.Feature]:
    record = written(table, 0)
    return dict(tf.train.Example.FromString(record).features.feature)


def example(features: dict[str, tf.train.Feature]) -> bytes:
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return message.SerializeToString(deterministic=True)


def integers(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


ONE = features_of(TABLES["one user"])
OTHER_FORMS = {
    "cut off": write_records(TABLES["every size"])[:-3],
    "no records": bytes(range(256)),
    "no example": framed(b"hello"),
    "a feature is missing": framed(example({k: ONE[k] for k in ONE if k != "hour"})),
    "a feature is new": framed(example({**ONE, "zone": integers(1)})),
    "a feature is of another type": framed(example({**ONE, "user_id": integers(1)})),
    "a feature has another length": framed(example({**ONE, "hour": integers(1, 2)})),
    "another number of tracks": framed(
        example({**ONE, "track": integers(*range(9)), "skipped": integers(*range(9))})
    ),
    "two ages": framed(example({**ONE, "user_age": integers(1, 2)})),
}


def test_the_record_that_the_other_forms_are_made_from_is_read():
    assert_equal(read_records(framed(example(ONE)), where=SHARD), TABLES["one user"])


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_records_of_another_form_are_refused(form):
    with pytest.raises(UserError, match="sessions/shard has records of another form"):
        read_records(OTHER_FORMS[form], where=SHARD)
