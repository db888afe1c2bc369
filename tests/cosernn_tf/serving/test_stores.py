"""One contract of all stores, and what those on a disk add to it."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cosernn_tf.errors import UserError
from cosernn_tf.serving.listens import Listen
from cosernn_tf.serving.redis_store import RedisStore
from cosernn_tf.serving.sqlite_store import SqliteStore
from cosernn_tf.serving.store import MemoryStore, StateStore, StoredUser, StoreError, UserUpdate
from tests.cosernn_tf.serving.redis_server import redis_server

FULL = Listen("u1", "t1", 1_000, 61_000, True, "mobile", "charts", -90, 180_000)
BARE = Listen("u1", "t2", 1_100)
NOT_SKIPPED = Listen("u1", "t3", 1_200, skipped=False)
LATE = Listen("u2", "t1", 900)
STRANGE = ["../../etc", "a\0b", "ü🎵", "'; DROP TABLE listens; --", "a:b", "%2e", " ", "u1:"]

Open = Callable[[str], StateStore]


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(params=["memory", "sqlite", "redis"])
def kind(request) -> str:
    return str(request.param)


@pytest.fixture
def open_store(kind, tmp_path, request) -> Iterator[Open]:
    """Opens a generation of one store."""
    opened: list[StateStore] = []

    def of(generation: str) -> StateStore:
        store: StateStore
        if kind == "memory":
            store = MemoryStore()
        elif kind == "sqlite":
            store = SqliteStore.open(tmp_path / "new" / "store.sqlite", generation=generation)
        else:
            store = RedisStore.open(request.getfixturevalue("redis_address"), generation=generation)
        opened.append(store)
        return store

    if kind == "redis":
        import redis

        redis.Redis.from_url(request.getfixturevalue("redis_address")).flushall()
    yield of
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store) -> StateStore:
    return open_store("g1")


def loaded(store: StateStore, user: str = "u1") -> StoredUser:
    (found,) = store.load([user]).values()
    return StoredUser(found.state, tuple(sorted(found.open_listens, key=lambda row: row.key)))


def test_an_empty_store_knows_nobody(store):
    assert store.load(["u1", "u2"]) == {}
    assert store.known([FULL.key]) == [False]
    assert store.listens("u1") == []
    assert not store.is_complete()
    store.commit([])
    assert not store.is_complete()
    store.complete()
    assert store.is_complete()


def test_every_field_comes_back(store):
    store.commit([UserUpdate("u1", b"\0state\xff", (FULL, BARE, NOT_SKIPPED))])
    assert loaded(store) == StoredUser(b"\0state\xff", (FULL, BARE, NOT_SKIPPED))
    assert all(
        type(found) is type(given)
        for row in store.listens("u1")
        if row.key == NOT_SKIPPED.key
        for found, given in [(row.skipped, NOT_SKIPPED.skipped)]
    )
    assert store.known(
        [FULL.key, ("u2", "t1", 1_000), ("u1", "t1", 1_001), ("u1", "t2", 1_000)]
    ) == [
        True,
        False,
        False,
        False,
    ]


def test_every_field_comes_back_at_its_bounds(store):
    listens = {
        Listen("u1", "tr\x00äck", 9, 0, False, "Mobile", "ch\narts", -330, 10**15),
        Listen("u1", "c", 0, ms_played=5, skipped=True, device="", stream_source=""),
    }
    store.commit([UserUpdate("u1", b"", tuple(listens))])
    assert set(store.listens("u1")) == listens
    assert loaded(store).state == b""
    assert store.load([]) == {}
    assert store.known([]) == []


def test_of_a_user_without_a_state_all_listens_are_open(store):
    store.commit([UserUpdate("u1", listens=(FULL, BARE)), UserUpdate("u2", late=(LATE,))])
    assert loaded(store) == StoredUser(None, (FULL, BARE))
    assert store.load(["u1", "u2"]).keys() == {"u1"}  # what is late tells nothing of a user
    store.commit([UserUpdate("u1", b"one", open_from=10_000)])
    assert loaded(store) == StoredUser(b"one", ())


def test_sessions_close_from_a_time_on_and_states_stay_where_they_are_not_given(store):
    store.commit([UserUpdate("u1", b"one", (FULL, BARE))])
    store.commit([UserUpdate("u1", None, (NOT_SKIPPED,))])
    assert loaded(store) == StoredUser(b"one", (FULL, BARE, NOT_SKIPPED))
    store.commit([UserUpdate("u1", b"two", (), open_from=BARE.timestamp)])
    assert loaded(store) == StoredUser(b"two", (BARE, NOT_SKIPPED))
    store.commit([UserUpdate("u1", b"three")])
    assert loaded(store) == StoredUser(b"three", (BARE, NOT_SKIPPED))
    assert sorted(store.listens("u1"), key=lambda row: row.key) == [FULL, BARE, NOT_SKIPPED]


def test_late_listens_are_known_and_never_open(store):
    store.commit([UserUpdate("u1", b"one", (BARE,), late=(FULL, NOT_SKIPPED))])
    assert loaded(store) == StoredUser(b"one", (BARE,))
    assert store.known([FULL.key, NOT_SKIPPED.key]) == [True, True]
    assert store.listens("u1") == [BARE]


def test_a_longer_play_takes_the_place_of_a_shorter_one(store):
    store.commit([UserUpdate("u1", b"one", (FULL, BARE))])
    longer = Listen("u1", "t1", 1_000, 99_000)
    store.commit([UserUpdate("u1", listens=(longer,))])
    assert loaded(store).open_listens == (longer, BARE)
    assert sorted(store.listens("u1"), key=lambda row: row.key) == [longer, BARE]


@pytest.mark.parametrize("name", STRANGE)
def test_ids_are_text_and_nothing_else(store, name):
    other = name + "x"
    listen = Listen(name, other, 7)
    store.commit([UserUpdate(name, b"one", (listen,)), UserUpdate(other, b"two")])
    assert loaded(store, name) == StoredUser(b"one", (listen,))
    assert loaded(store, other) == StoredUser(b"two", ())
    assert store.known([listen.key, (other, name, 7)]) == [True, False]
    assert store.listens(name) == [listen]
    assert store.listens(other) == []


def test_generations_share_listens_and_no_states(kind, open_store):
    if kind == "memory":
        pytest.skip("one in memory has one generation")
    first, second = open_store("g1"), open_store("g2")
    first.commit([UserUpdate("u1", b"one", (FULL, BARE), open_from=BARE.timestamp)])
    first.complete()
    assert not second.is_complete()
    assert loaded(second) == StoredUser(None, (FULL, BARE))
    assert second.known([FULL.key]) == [True]
    second.commit([UserUpdate("u1", b"other", open_from=FULL.timestamp)])
    first.commit([UserUpdate("u1", None, (NOT_SKIPPED,))])
    assert loaded(second) == StoredUser(b"other", (FULL, BARE, NOT_SKIPPED))
    assert loaded(first) == StoredUser(b"one", (BARE, NOT_SKIPPED))
    again = open_store("g1")
    assert loaded(again) == loaded(first)
    assert again.is_complete()


def test_states_of_generations_that_are_not_kept_go_and_listens_stay(kind, open_store):
    if kind == "memory":
        pytest.skip("one in memory has one generation")
    stores = {name: open_store(name) for name in ("g1", "g2", "g3", "g11")}
    users = [f"u{number}" for number in range(2_500)]
    for name, store in stores.items():
        store.commit([UserUpdate(user, name.encode(), open_from=10_000) for user in users])
        store.complete()
    stores["g1"].commit([UserUpdate("u1", listens=(FULL,))])
    stores["g1"].keep_only({"g2", "g3"})
    for name in ("g2", "g3"):
        found = stores[name].load(users)
        assert found.keys() == set(users)
        assert {user.state for user in found.values()} == {name.encode()}
        assert stores[name].is_complete()
    for name in ("g1", "g11"):
        again = open_store(name)
        assert not again.is_complete()
        assert again.load(users) == {"u1": StoredUser(None, (FULL,))}


def test_a_commit_that_fails_leaves_nothing(kind, store):
    if kind == "memory":
        pytest.skip("nothing fails there")
    store.commit([UserUpdate("u1", b"one", (FULL,))])
    bad: Any = UserUpdate("u2", object(), (BARE,))  # type: ignore[arg-type]
    with pytest.raises(Exception, match=r"type|supported"):
        store.commit([UserUpdate("u1", b"two", (NOT_SKIPPED,)), bad])
    assert loaded(store) == StoredUser(b"one", (FULL,))
    assert store.known([NOT_SKIPPED.key, BARE.key]) == [False, False]
    store.commit([UserUpdate("u1", b"two", (NOT_SKIPPED,))])
    assert loaded(store).state == b"two"


def test_any_sequence_of_commits(store):
    random = np.random.default_rng(0)
    users = ["ada", "bob", "eve"]
    states: dict[str, bytes] = {}
    open_from = dict.fromkeys(users, 0)
    on_time: dict[tuple[str, str, int], Listen] = {}
    late: set[tuple[str, str, int]] = set()
    for number in range(40):
        updates = []
        for user in random.permutation(users)[: random.integers(1, 4)].tolist():
            state = bytes(random.bytes(int(random.integers(1, 9)))) if number % 3 else None
            bound = number if random.random() < 0.3 else None
            new = tuple(
                {
                    one.key: one
                    for one in (
                        Listen(user, "a", int(second), ms_played=number)
                        for second in random.integers(0, 60, 3)
                    )
                    if one.key not in late
                }.values()
            )
            after = tuple(
                one
                for one in (Listen(user, "a", 100 + number),)
                if random.random() < 0.3 and one.key not in on_time
            )
            updates.append(UserUpdate(user, state, new, bound, after))
            states |= {} if state is None else {user: state}
            open_from |= {} if bound is None else {user: bound}
            on_time |= {one.key: one for one in new}
            late |= {one.key for one in after}
        store.commit(updates)
        found = store.load(users)
        for user in users:
            own = {one for one in on_time.values() if one.user_id == user}
            assert set(store.listens(user)) == own
            if user not in states and not own:
                assert user not in found
                continue
            assert found[user].state == states.get(user)
            assert set(found[user].open_listens) == {
                one for one in own if one.timestamp >= open_from[user]
            }
    keys = [*on_time, *late, ("ada", "z", 5)]
    assert store.known(keys) == [True] * (len(keys) - 1) + [False]
    assert len(late) > 5


# On a disk ---------------------------------------------------------------------------------------

WRITE_UNTIL_KILLED = """
    import sys
    from pathlib import Path
    from cosernn_tf.serving.listens import Listen
    from cosernn_tf.serving.sqlite_store import SqliteStore
    from cosernn_tf.serving.store import UserUpdate

    store = SqliteStore.open(Path(sys.argv[1]), generation="g")
    for number in range(10_000_000):
        listens = tuple(Listen("u", f"t{number}-{part}", number) for part in range(3))
        store.commit([UserUpdate("u", str(number).encode(), listens)])
        print(number, flush=True)
"""


def test_what_was_committed_survives_a_kill_and_what_was_not_is_not_half_there(tmp_path):
    path = tmp_path / "store.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITE_UNTIL_KILLED), str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.readlines()
    process.wait()
    last = int([line for line in acknowledged if line.endswith("\n")][-1])
    store = SqliteStore.open(path, generation="g")
    rows = store.listens("u")
    state = store.load(["u"])["u"].state
    assert state is not None
    stored = int(state)
    assert stored in (last, last + 1)
    assert {row.timestamp for row in rows} == set(range(stored + 1))
    assert len(rows) == 3 * (stored + 1)
    store.close()


def test_sqlite_waits_for_the_disk(tmp_path):
    store = SqliteStore.open(tmp_path / "store.sqlite", generation="g")
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    store.close()


def test_a_full_disk_is_an_error_and_the_store_goes_on(tmp_path):
    store = SqliteStore.open(tmp_path / "store.sqlite", generation="g")
    store.commit([UserUpdate("u1", b"one", (FULL,))])
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"store\.sqlite: .*full"):
        store.commit([UserUpdate("u2", bytes(100_000), (BARE,))])
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.known([FULL.key, BARE.key]) == [True, False]
    store.commit([UserUpdate("u2", bytes(100_000), (BARE,))])
    store.close()


def test_a_file_of_something_else_or_of_another_version_is_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("hello" * 1000)
    with pytest.raises(UserError, match=r"text cannot be used .* name another file"):
        SqliteStore.open(text, generation="g")
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(UserError, match="is a database of something else"):
        SqliteStore.open(other, generation="g")
    newer = tmp_path / "newer"
    SqliteStore.open(newer, generation="g").close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UserError, match="is a store of version 99"):
        SqliteStore.open(newer, generation="g")
    with pytest.raises(UserError, match="cannot be used"):
        SqliteStore.open(text / "below", generation="g")


def test_redis_that_is_not_there_or_goes_away(tmp_path_factory):
    with pytest.raises(UserError, match="is it started"):
        RedisStore.open("unix:///nowhere", generation="g")
    with pytest.raises(UserError, match="Redis does not answer"):
        RedisStore.open("redis://localhost:port", generation="g")
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        store = RedisStore.open(address, generation="g")
        store.commit([UserUpdate("u1", b"one", (FULL,))])
    with pytest.raises(StoreError, match="Redis: "):
        store.commit([UserUpdate("u1", b"two", (BARE,))])
    with pytest.raises(StoreError, match="Redis: "):
        store.load(["u1"])


def test_what_redis_refuses_is_told_without_ids(tmp_path_factory):
    import redis

    hidden = Listen("hidden-user", "hidden-track", 1_000)
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        store = RedisStore.open(address, generation="g")
        client = redis.Redis.from_url(address)
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreError, match="maxmemory") as full:
            store.commit([UserUpdate("hidden-user", b"one", (hidden,))])
        client.config_set("maxmemory", 0)
        client.set("cosernn:listens:hidden-user", "something else")
        with pytest.raises(StoreError, match="WRONGTYPE") as wrong:
            store.listens("hidden-user")
        store.close()
    for error in (full.value, wrong.value):
        assert "hidden" not in str(error)


def test_redis_keeps_what_it_was_given_over_a_kill(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redis")
    for number in range(2):
        with redis_server(folder) as address:  # killed at the end
            store = RedisStore.open(address, generation="g")
            assert (store.load(["u1"]) == {}) == (number == 0)
            store.commit([UserUpdate("u1", b"one", (FULL,))])


def test_redis_of_another_version_is_refused(tmp_path_factory):
    import redis

    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        redis.Redis.from_url(address).set("cosernn:version", 99)
        with pytest.raises(UserError, match="has version b'99'"):
            RedisStore.open(address, generation="g")
