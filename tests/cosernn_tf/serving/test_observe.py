"""Listens in any order, twice and late, against a brute-force session rule and the pipeline."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from cosernn_tf.features import embed_sessions
from cosernn_tf.models.stepping import SESSIONS
from cosernn_tf.schema import SESSION_GAP_SECONDS
from cosernn_tf.serving.listens import Key, Listen, Outcome, preferred
from cosernn_tf.serving.store import MemoryStore, StoreError, UserUpdate
from cosernn_tf.serving.users import Users
from cosernn_tf.sessions import NULL, in_order
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun
from tests.cosernn_tf.serving.conftest import users_of
from tests.cosernn_tf.serving.listening import bucketed, longer, random_listens, sequenced, shuffled
from tests.workspaces import FIRST_SECOND

# The oracle --------------------------------------------------------------------------------------


def sessions_of_one(listens: Iterable[Listen]) -> list[list[tuple[Key, bool]]]:
    """Of one user, in plain Python: the keys of each session, and whether it was skipped."""
    rows = sorted(listens, key=lambda row: (row.timestamp, row.track_id.encode()))
    found: list[list[tuple[Key, bool]]] = []
    for number, row in enumerate(rows):
        if row.skipped is not None:
            skipped = row.skipped
        elif row.ms_played is not None:
            skipped = row.ms_played < 30_000
        elif row.track_duration_ms is not None and number + 1 < len(rows):
            seconds = rows[number + 1].timestamp - row.timestamp
            skipped = seconds * 1_000 < row.track_duration_ms / 2
        else:
            skipped = False
        last = rows[number - 1]
        end = last.timestamp + (last.ms_played or 0) // 1_000
        if number == 0 or row.timestamp - end >= SESSION_GAP_SECONDS:
            found.append([])
        found[-1].append((row.key, skipped))
    return found


class Oracle:
    """What became of each listen, judged by what a change of the closed sessions would be."""

    def __init__(self) -> None:
        self.accepted: dict[str, dict[Key, Listen]] = {}
        self.late: set[Key] = set()
        self.raw: list[Listen] = []
        """Accepted ones, and the repeated ones of sessions that were open."""

    def observe(self, listens: list[Listen]) -> list[Outcome]:
        before = {user: dict(own) for user, own in self.accepted.items()}
        return [self._judge(listen, before.get(listen.user_id, {})) for listen in listens]

    def _judge(self, listen: Listen, before: dict[Key, Listen]) -> Outcome:
        own = self.accepted.setdefault(listen.user_id, {})
        closed = sessions_of_one(before.values())[:-1]
        if listen.key in own or listen.key in self.late:
            if listen.key in own and all(
                listen.key != key for session in closed for key, _ in session
            ):
                self.raw.append(listen)
                own[listen.key] = max(own[listen.key], listen, key=lambda row: row.ms_played or -1)
            return Outcome.DUPLICATE
        with_it = sessions_of_one([*before.values(), listen])[:-1]
        if with_it[: len(closed)] != closed:
            self.late.add(listen.key)
            return Outcome.LATE
        own[listen.key] = listen
        self.raw.append(listen)
        return Outcome.ACCEPTED


def assert_records_are_of(users: Users, table: SessionTable, run: TrainedRun) -> None:
    """What is carried over is what a reader of the whole table finds."""
    embeddings = embed_sessions(table, run.embeddings.vectors)
    ids = [user.decode() for user in table.user_id]
    records = users.current(ids, np.zeros(len(ids)))
    last = table.row_splits[1:] - 1
    lengths = np.diff(table.row_splits)
    assert records["sessions"].tolist() == lengths.tolist()
    assert records["last_num_tracks"].tolist() == table.num_tracks[last].tolist()
    assert records["last_stream_source"].tolist() == table.stream_source[last].tolist()
    for name in ("all", "played", "skipped"):
        np.testing.assert_array_equal(records[f"last_{name}"], getattr(embeddings, name)[last])
    for row, length in enumerate(lengths):
        own = embeddings.all[table.row_splits[row] :][:length].astype(np.float64)
        expected = np.arange(1, length + 1) @ own
        np.testing.assert_allclose(records["sum"][row], expected, atol=1e-12)


def disordered(seed: int) -> list[list[Listen]]:
    """Batches of listens that come out of order, some twice, some of them longer."""
    random = np.random.default_rng(seed)
    listens = random_listens(seed, users=("ada", "bob"), sessions=6)
    for listen in shuffled(listens, seed)[::6]:
        played = int(random.choice([1_000, 400_000]))
        listens += [listen, longer(listen, played)]
    spread = random.choice([60, 3_000, 90_000], len(listens), p=[0.6, 0.25, 0.15])
    arrival = np.array([row.timestamp for row in listens]) + spread * random.random(len(listens))
    queue = [listens[row] for row in np.argsort(arrival)]
    batches = []
    while queue:
        size = int(random.choice([1, 2, 7]))
        batches.append(queue[:size])
        queue = queue[size:]
    return batches


@pytest.mark.parametrize("seed", range(1, 13))
def test_outcomes_and_states_of_listens_in_any_order(cosernn, seed):
    users, oracle = users_of(cosernn, MemoryStore()), Oracle()
    outcomes: list[Outcome] = []
    for batch in disordered(seed):
        found = users.observe(batch)
        assert found == oracle.observe(batch)
        outcomes += found
        if any(outcome is not Outcome.LATE for outcome in found):
            assert_records_are_of(users, sequenced(oracle.raw), cosernn)
    for outcome in Outcome:
        assert outcomes.count(outcome) >= 3, outcome


@pytest.mark.parametrize("seed", [5, 6])
def test_a_session_is_the_same_in_any_order_of_its_listens(cosernn, seed):
    listens = random_listens(seed, is_short=True, sessions=3)
    expected = sequenced(listens)
    for order in range(3):
        users = users_of(cosernn, MemoryStore())
        # The sessions of a user one after the other.
        queue = sorted(shuffled(listens, order), key=lambda row: row.timestamp // 10_000)
        assert set(users.observe(queue)) == {Outcome.ACCEPTED}
        assert_records_are_of(users, expected, cosernn)


def test_a_later_listen_tells_that_the_last_one_of_a_closed_session_was_skipped(cosernn):
    """Of a track of 50 minutes, by a session that begins 24 or 26 minutes later."""
    first = Listen("ada", "track-1", FIRST_SECOND, track_duration_ms=50 * 60_000)
    for minutes, skipped in ((24, True), (26, False)):
        users = users_of(cosernn, MemoryStore())
        second = Listen("ada", "track-2", FIRST_SECOND + 60 * minutes)
        assert users.observe([first]) + users.observe([second]) == [Outcome.ACCEPTED] * 2
        table = sequenced([first, second])
        assert table.skipped[0, 0] == int(skipped)
        # One that comes still earlier would have told otherwise.
        earlier = Listen("ada", "track-3", FIRST_SECOND + 60 * 23)
        assert users.observe([earlier]) == [Outcome.ACCEPTED if skipped else Outcome.LATE]


@pytest.mark.parametrize("seed", range(3))
def test_the_preferred_of_two_is_the_one_that_the_pipeline_keeps(seed):
    random = np.random.default_rng(seed)
    choices: dict[str, list[Any]] = {
        "ms_played": [None, 0, 5],
        "skipped": [None, True, False],
        "device": [None, "mobile", "web"],
        "stream_source": [None, "a", "b"],
        "utc_offset_minutes": [None, -60, 60],
        "track_duration_ms": [None, 7, 8],
    }
    for _ in range(100):
        one, other = (
            Listen("ada", "track-1", 5, **{n: v[random.integers(0, 3)] for n, v in choices.items()})
            for _ in range(2)
        )
        expected = columns_of([one, other])
        assert columns_of([preferred(one, other)]) == expected
        assert columns_of([preferred(other, one)]) == expected


def columns_of(listens: list[Listen]) -> tuple[object, ...]:
    """What the pipeline keeps of listens with the same key."""
    bucket = bucketed(listens)
    kept = in_order(bucket.listens)
    assert len(kept) == 1
    source = int(kept.stream_source[0])
    names = ("ms_played", "skipped", "device", "utc_offset_minutes", "track_duration_ms")
    return (
        None if source == NULL else bucket.stream_source[source].as_py(),
        *(int(getattr(kept, name)[0]) for name in names),
    )


class FailingStore(MemoryStore):
    """Fails to answer a commit, which it takes or not."""

    def __init__(self, *, takes: bool) -> None:
        super().__init__()
        self.takes = takes
        self.fails = False

    def commit(self, updates: Sequence[UserUpdate]) -> None:
        if self.takes or not self.fails:
            super().commit(updates)
        if self.fails:
            raise StoreError("no answer")


@pytest.mark.parametrize("takes", [False, True])
def test_after_a_commit_that_fails_users_are_as_the_store_has_them(cosernn, takes):
    names = ["ada", "bob"]
    *listens, last = random_listens(5, users=names)
    store, expected = FailingStore(takes=takes), users_of(cosernn, MemoryStore())
    # As another generation leaves them: the first one to ask has sessions closed.
    for user in names:
        own = tuple(listen for listen in listens if listen.user_id == user)
        store.commit([UserUpdate(user, listens=own)])
    users = users_of(cosernn, store)
    store.fails = True
    second = np.full(2, last.timestamp + 10_000)
    with pytest.raises(StoreError):
        users.current(names, second)
    store.fails = False
    expected.observe(listens)
    assert_equal_records(users.current(names, second), expected.current(names, second))
    store.fails = True
    with pytest.raises(StoreError):
        users.observe([last])
    store.fails = False
    if takes:
        expected.observe([last])
    assert_equal_records(users.current(names, second), expected.current(names, second))
    assert users.observe([last]) == [Outcome.DUPLICATE if takes else Outcome.ACCEPTED]


def assert_equal_records(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found[SESSIONS] > 0).all()
    for name in found.dtype.names or ():
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
