"""A file is there whole or not at all, and its checksum is that of what is on the disk."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosernn_tf.whole_files import Written, write_json, write_parquet, write_text, write_whole


def as_it_is(path: Path) -> Written:
    data = path.read_bytes()
    return Written(len(data), hashlib.sha256(data).hexdigest())


def test_a_file_replaces_the_older_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    write_whole(path, [b"longer than ", b"the second"])
    assert write_whole(path, [b"a", b"", b"bc"]) == as_it_is(path)
    assert path.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [path]


def test_an_older_file_is_as_it_was_until_the_newer_one_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")

    def blocks() -> Iterator[bytes]:
        yield b"new"
        assert path.read_bytes() == b"older"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, blocks())
    assert path.read_bytes() == b"older"
    assert [p for p in tmp_path.iterdir() if not p.name.startswith(".")] == [path]


def test_text_and_json_can_be_read_back(tmp_path):
    path, content = tmp_path / "file", {"β": [1, None, 0.5]}
    assert write_text(path, "û ⇒ ū\n") == as_it_is(path)
    assert path.read_text("utf-8") == "û ⇒ ū\n"
    assert write_json(path, content) == as_it_is(path)
    assert json.loads(path.read_text("utf-8")) == content


def test_parquet_has_a_row_group_for_each_table(tmp_path):
    path, table = tmp_path / "file", pa.table({"a": [3, 1, 2, 5, 4]})
    tables = [table.slice(0, 2), table.slice(2, 0), table.slice(2)]
    assert write_parquet(path, tables, table.schema) == as_it_is(path)
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    assert [group for group in groups if group.num_rows] == [table.slice(0, 2), table.slice(2)]
