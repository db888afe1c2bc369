"""The record writer against TensorFlow's own."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cosernn_tf.records import write_records
from cosernn_tf.schema import SESSION_FEATURES, Per
from cosernn_tf.table import SessionTable
from tests.workspaces import random_table


def table_of(*, lengths: tuple[int, ...]) -> SessionTable:
    """Users with these numbers of sessions, ids of every kind, and every size of integer."""
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    total, users = int(splits[-1]), len(lengths)
    random = np.random.default_rng(0)
    ids = [b"", b"user-1", "usér".encode(), bytes(range(256)), b"x" * 300]
    columns = {}
    for feature in SESSION_FEATURES:
        rows = users if feature.per is Per.USER else total
        shape = (rows, 10) if feature.per is Per.TRACK else (rows,)
        # Varints change length at powers of 128; negative ones take ten bytes.
        size = 2 ** random.integers(0, 63, shape)
        columns[feature.name] = size + random.integers(-1, 2, shape)
    columns["user_id"] = np.array([ids[row % len(ids)] for row in range(users)], object)
    columns["user_age"][: users // 2] = -1
    if total:
        columns["track"][0] = [0, -1, -2, 127, 128, 2**63 - 1, -(2**63), 16_383, 16_384, 1]
    return SessionTable(row_splits=splits, **columns)


def example(table: SessionTable, user: int) -> bytes:
    sessions = slice(table.row_splits[user], table.row_splits[user + 1])
    features = {}
    for feature in SESSION_FEATURES:
        values = getattr(table, feature.name)
        if feature.dtype is np.bytes_:
            features[feature.name] = tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[values[user]])
            )
        else:
            part = values[user : user + 1] if feature.per is Per.USER else values[sessions]
            features[feature.name] = tf.train.Feature(
                int64_list=tf.train.Int64List(value=part.ravel().tolist())
            )
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return message.SerializeToString(deterministic=True)


TABLES = {
    "every size": table_of(lengths=(3, 1, 40, 2, 5)),
    "user without a session": table_of(lengths=(0, 2, 0)),
    "one user": table_of(lengths=(1,)),
    "no user": table_of(lengths=()),
    "a log": random_table(5),
}


@pytest.fixture(params=TABLES, name="table")
def a_table(request) -> SessionTable:
    return TABLES[request.param]


def test_files_are_those_of_tensorflow(table, tmp_path):
    path = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for user in range(table.num_users):
            writer.write(example(table, user))
    assert write_records(table) == path.read_bytes()


def test_tensorflow_accepts_the_checksums(tmp_path):
    table = TABLES["every size"]
    path = tmp_path / "ours"
    data = write_records(table)
    path.write_bytes(data)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert records == [example(table, user) for user in range(table.num_users)]
    path.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_the_tables_have_varints_of_every_length():
    values = np.abs(TABLES["every size"].track.astype(object))
    lengths = {max(1, -(-int(value).bit_length() // 7)) for value in values.ravel()}
    assert lengths >= set(range(1, 10))
    assert all(a < b for a, b in itertools.pairwise(sorted(lengths)))
