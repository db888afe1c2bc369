"""Keyed hashes of ids, against Python's hmac, and what a key file must be."""

import hashlib
import hmac
import pickle

import numpy as np
import pyarrow as pa
import pytest

from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.hashing import IdHasher, StoredIds, hash_id, read_key
from beam_pipelines.rules.rows import RawListens, RejectedRow
from cosernn_tf.errors import UserError

KEY = b"0123456789abcdef"
ODD_IDS = ["anna", "Anna", "", " ", "ü", "u\u0308", "a\0", "a", "🎧", "x" * 5000]


def oracle(id: str, key: bytes, column: str) -> str:
    salt = b"cosernn_tf/hash_ids/1/" + column.encode() + b"\x00"
    return hmac.new(key, salt + id.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("column", ["user_id", "track_id"])
def test_a_hash_is_the_hmac_of_the_salt_and_the_id(column):
    hashes = [hash_id(id, KEY, column) for id in ODD_IDS]
    assert hashes == [oracle(id, KEY, column) for id in ODD_IDS]
    assert len(set(hashes)) == len(ODD_IDS)


def test_a_hash_never_changes():
    """This one is of OpenSSL: `printf 'SALT\\0anna' | openssl dgst -sha256 -hmac KEY`."""
    expected = "a5a71c26bf301ec77bb373553823bbb363c330d8f2e99faf4ade1ce9c262e2ad"
    assert hash_id("anna", KEY, "user_id") == expected


def test_key_column_and_plain_hmac_give_other_hashes():
    hashes = {
        hash_id("anna", KEY, "user_id"),
        hash_id("anna", KEY, "track_id"),
        hash_id("anna", KEY + b"0", "user_id"),
        hmac.new(KEY, b"anna", hashlib.sha256).hexdigest(),
        hashlib.sha256(b"anna").hexdigest(),
    }
    assert len(hashes) == 5


def test_a_table_is_hashed_row_by_row_and_only_where_asked():
    table = pa.table(
        {
            "user_id": pa.chunked_array([["b", "a", "b"], ["ü", "a"]]),
            "track_id": ["t", "u", "t", "t", "v"],
            "ms_played": [1, 2, 3, 4, 5],
        }
    )
    hashed = IdHasher(KEY, ("user_id",)).table(table)
    assert hashed.schema == table.schema
    users = table["user_id"].to_pylist()
    assert hashed["user_id"].to_pylist() == [oracle(user, KEY, "user_id") for user in users]
    assert hashed.select(["track_id", "ms_played"]) == table.select(["track_id", "ms_played"])
    both = IdHasher(KEY, ("user_id", "track_id")).table(table)
    tracks = table["track_id"].to_pylist()
    assert both["track_id"].to_pylist() == [oracle(track, KEY, "track_id") for track in tracks]


def test_of_a_rejected_row_only_hashes_and_numbers_are_kept():
    raw = RawListens(
        {
            "user_id": pa.array(["anna", "x" * 5000, None]),
            "track_id": pa.array(["t", "t", "anna"]),
            "timestamp": pa.array(["anna", "5000000000000", "7"]),
            "device": pa.array(["anna", "web", "web"]),
            "ms_played": pa.array(["1", "anna", "3"]),
        },
        np.arange(1, 4),
        (RejectedRow(4, "malformed", "anna,t"), RejectedRow(5, "malformed", "an", 2000)),
    )
    checked = check_listens(raw, IdHasher(KEY, ("user_id",)))
    anna, long = (oracle(id, KEY, "user_id") for id in ("anna", "x" * 5000))
    found = {row.row: (row.reason, row.content, row.length) for row in checked.rejected}
    assert found == {
        1: ("bad_timestamp", f'{{"user_id": "{anna}", "timestamp": null, "ms_played": 1}}', None),
        2: (
            "bad_ms_played",
            f'{{"user_id": "{long}", "timestamp": 5000000000000, "ms_played": null}}',
            None,
        ),
        3: ("missing_user_id", '{"user_id": null, "timestamp": 7, "ms_played": 3}', None),
        4: ("malformed", None, 6),
        5: ("malformed", None, 2000),
    }


# Key files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (KEY, KEY),
        (KEY + b"\n", KEY),
        (KEY + b"\r\n", KEY),
        (KEY + b"\n\n", KEY + b"\n"),
        (KEY + b"\r", KEY + b"\r"),
        (b" " + KEY + b" ", b" " + KEY + b" "),
        (bytes(range(200, 232)), bytes(range(200, 232))),
    ],
)
def test_a_key_is_the_content_but_for_one_newline(tmp_path, content, key):
    path = tmp_path / "ids.key"
    path.write_bytes(content)
    assert read_key(path) == key


@pytest.mark.parametrize("content", [b"", b"\n", b"0123456789abcde\n", b"0123456789abcd\r\n"])
def test_a_short_key_is_refused_with_how_to_make_one(tmp_path, content):
    path = tmp_path / "ids.key"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"ids.key has \d+ bytes.*at least 16: .*openssl rand"):
        read_key(path)


@pytest.mark.parametrize("name", ["nowhere.key", ""])
def test_no_key_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--hash_ids=.* is no file: .*openssl rand"):
        read_key(name)


@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o640, True), (0o604, True)])
def test_a_key_that_others_can_read_is_warned_of(tmp_path, caplog, mode, warns):
    path = tmp_path / "ids.key"
    path.write_bytes(KEY)
    path.chmod(mode)
    with caplog.at_level("WARNING", logger="absl"):
        StoredIds.hashed(str(path), ("user_id",))
    assert ("can be read by others" in caplog.text) == warns


def test_what_travels_to_workers_has_no_key(tmp_path):
    path = tmp_path / "ids.key"
    path.write_bytes(KEY)
    ids = pickle.loads(data := pickle.dumps(StoredIds.hashed(str(path), ("user_id",))))
    assert KEY not in data
    hasher = ids.hasher()
    assert hasher is not None
    assert hasher.key == KEY
    assert "0123456789" not in repr(hasher)
    path.write_bytes(b"another key, of the same file")
    with pytest.raises(UserError, match=r"ids.key was changed during the run"):
        ids.hasher()


def test_the_check_value_tells_keys_apart_and_is_no_hash_of_an_id():
    hashers = [IdHasher(key, ("user_id",)) for key in (KEY, KEY, KEY + b"!")]
    checks = [hasher.check for hasher in hashers]
    assert checks[0] == checks[1] != checks[2]
    assert all(len(check) == 16 for check in checks)
    assert not hash_id("", KEY, "user_id").startswith(checks[0])


def test_raw_ids_are_described_as_such():
    assert StoredIds().hasher() is None
    assert StoredIds().description() == {"user_id": "raw", "track_id": "raw"}
    assert StoredIds().name("a/b.csv") == "a/b.csv"
    assert StoredIds().anonymous("a/b.csv is bad", "a/b.csv") == "a/b.csv is bad"
