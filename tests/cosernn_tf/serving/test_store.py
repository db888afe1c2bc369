"""What every store does; the oracle is a few lines over a list of all that was committed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from cosernn_tf.serving.listens import Listen
from cosernn_tf.serving.store import MemoryStore, StateStore, StoredUser, UserUpdate

STORES: Final[dict[str, Callable[[Path], StateStore]]] = {"memory": lambda _: MemoryStore()}
"""By name, from an empty folder to a store of one generation."""


@pytest.fixture(params=STORES)
def store(request, tmp_path) -> Iterator[StateStore]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


def listen(user: str, timestamp: int, track: str = "a", **columns) -> Listen:
    return Listen(user, track, timestamp, **columns)


def loaded(store: StateStore, user: str) -> StoredUser:
    return store.load([user])[user]


def test_an_empty_store_knows_nobody(store):
    assert store.load(["ada", "bob"]) == {}
    assert store.load([]) == {}
    assert store.known([("ada", "a", 5)]) == [False]
    assert store.known([]) == []
    assert store.listens("ada") == []
    store.commit([])
    assert not store.is_complete()
    store.complete()
    assert store.is_complete()


def test_a_state_is_kept_byte_by_byte(store):
    states = {"ada": bytes(range(256)) * 50, "bob": b"", "ça\x00va": b"\x00"}
    store.commit([UserUpdate(user, state=state, open_from=7) for user, state in states.items()])
    assert store.load([*states, "eve"]) == {u: StoredUser(s, ()) for u, s in states.items()}
    store.commit([UserUpdate("bob", state=b"other")])
    assert loaded(store, "bob").state == b"other"
    assert loaded(store, "ada").state == states["ada"]


def test_a_listen_is_kept_with_all_its_columns(store):
    full = Listen("ada", "tr\x00äck", 9, 0, False, "Mobile", "ch\narts", -330, 10**15)
    empty = Listen("ada", "b", 9)
    skipped = Listen("ada", "c", 0, ms_played=5, skipped=True, device="", stream_source="")
    store.commit([UserUpdate("ada", listens=(full, empty, skipped))])
    found = loaded(store, "ada")
    assert found.state is None
    assert set(found.open_listens) == {full, empty, skipped}
    assert all(type(one.skipped) in (bool, type(None)) for one in found.open_listens)
    assert set(store.listens("ada")) == {full, empty, skipped}


def test_listens_before_a_time_are_no_longer_open(store):
    listens = tuple(listen("ada", second) for second in (10, 20, 30))
    store.commit([UserUpdate("ada", listens=listens)])
    store.commit([UserUpdate("ada", state=b"s", open_from=20), UserUpdate("bob", state=b"t")])
    assert set(loaded(store, "ada").open_listens) == set(listens[1:])
    store.commit([UserUpdate("ada", listens=(listen("ada", 40),), open_from=31)])
    assert loaded(store, "ada") == StoredUser(b"s", (listen("ada", 40),))
    assert {one.timestamp for one in store.listens("ada")} == {10, 20, 30, 40}
    assert loaded(store, "bob") == StoredUser(b"t", ())


def test_late_listens_are_known_and_no_more(store):
    late = listen("ada", 50)
    store.commit([UserUpdate("ada", late=(late,))])
    assert store.load(["ada"]) == {}
    assert store.known([late.key, ("bob", "a", 50)]) == [True, False]
    assert store.listens("ada") == []
    store.commit([UserUpdate("ada", listens=(listen("ada", 60),), late=(listen("ada", 3),))])
    assert loaded(store, "ada").open_listens == (listen("ada", 60),)
    assert store.known([("ada", "a", 3), ("ada", "a", 60), ("ada", "b", 60)]) == [True, True, False]


def test_a_longer_play_replaces_the_one_with_its_key(store):
    short, longer = (listen("ada", 5, ms_played=played) for played in (1, 2))
    others = (listen("ada", 5, "b"), listen("bob", 5), listen("ada", 6))
    store.commit(
        [
            UserUpdate("ada", listens=(short, others[0], others[2])),
            UserUpdate("bob", listens=(others[1],)),
        ]
    )
    store.commit([UserUpdate("ada", listens=(longer,))])
    assert set(store.listens("ada")) == {longer, others[0], others[2]}
    assert len(store.listens("ada")) == 3
    assert store.listens("bob") == [others[1]]


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
                        listen(user, int(second), ms_played=number)
                        for second in random.integers(0, 60, 3)
                    )
                    if one.key not in late
                }.values()
            )
            after = tuple(
                one
                for one in (listen(user, 100 + number),)
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
