"""Users and their states: in memory those asked for last, in the store all."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np

from cosernn_tf.config import require
from cosernn_tf.serving import user_state, work
from cosernn_tf.serving.carrier import Carrier
from cosernn_tf.serving.listens import Key, Listen, Outcome, preferred
from cosernn_tf.serving.logged import LoggedSessions
from cosernn_tf.serving.residents import Residents
from cosernn_tf.serving.settle import Past, Settler
from cosernn_tf.serving.store import StateStore, UserUpdate

_LISTENS_AT_ONCE: Final = 10_000


class Users:
    """What precedes the next session of each user."""

    def __init__(
        self, carrier: Carrier, settler: Settler, store: StateStore, *, max_users: int
    ) -> None:
        require(max_users >= 1, f"max_users={max_users} must be at least 1")
        self._carrier = carrier
        self._settle = settler
        self._store = store
        self._residents = Residents(carrier.dtype, max_users)
        self.work = work.Work()

    def __len__(self) -> int:
        """Users in memory."""
        return len(self._residents)

    @property
    def max_users(self) -> int:
        return self._residents.max_users

    def current(self, users: Sequence[str], second: np.ndarray) -> np.ndarray:
        """What precedes a session of each of at most `max_users` users: open ones count as ended.

        Args:
            users: n, maybe some of them the same.
            second: (n,) UTC, at which the sessions start.

        Returns:
            (n,) records.
        """
        self._bring(list(dict.fromkeys(users)))
        rows = self._residents.rows(users)
        records = self._residents.current(rows)
        # A new session may tell that the last listen was skipped, if its track is a long one.
        is_new = second >= records["end"] + self._settle.gap_seconds
        for number in np.flatnonzero(is_new & (second < records["earliest"])).tolist():
            row = rows[number : number + 1]
            listens = self._residents.open_listens(int(row[0]))
            if listens:
                records[number] = self._if_next(row, listens, int(second[number]))
        return records

    def _if_next(self, row: np.ndarray, listens: Sequence[Listen], second: int) -> np.ndarray:
        """The record of a user whose next listen starts a session at that second."""
        user = listens[-1].user_id
        begun = [*listens, Listen(user, listens[-1].track_id, second)]
        ids = np.array([user.encode("utf-8", "surrogatepass")], object)
        return self._settle(ids, self._residents.past(row), [begun]).past.closed[0]

    def heard(self, user: str) -> tuple[np.ndarray, tuple[Listen, ...]]:
        """Rows of the track vocabulary in the closed sessions, and the listens of the open one."""
        self._bring([user])
        row = int(self._residents.rows([user])[0])
        return self._residents.heard(row), self._residents.open_listens(row)

    def take_in(self, logged: LoggedSessions, *, before: int | None = None) -> None:
        """Puts users with their sessions of the log into the store.

        Args:
            logged: Sessions of users of whom none is in memory.
            before: UTC second; sessions that start then or later are left out. None: none are.
        """
        number = logged.number_before(before)
        records = logged.new(self._carrier)
        logged.carry(self._carrier, records, np.zeros_like(number), number)
        heard = logged.heard(number)
        self._store.commit(
            [
                UserUpdate(
                    user.decode("utf-8", "surrogatepass"),
                    state=user_state.to_bytes(records[row], heard[row]),
                    open_from=int(records["earliest"][row]),
                )
                for row, user in enumerate(logged.table.user_id)
            ]
        )

    def observe(self, listens: Sequence[Listen]) -> list[Outcome]:
        """Takes in listens, in any order, and says what became of each.

        They are in the store when it returns.
        """
        places: dict[str, list[int]] = {}
        for place, listen in enumerate(listens):
            places.setdefault(listen.user_id, []).append(place)
        outcomes = [Outcome.ACCEPTED] * len(listens)
        for block in self._blocks(places):
            own = [place for user in block for place in places[user]]
            for place, outcome in zip(own, self._observe([listens[p] for p in own]), strict=True):
                outcomes[place] = outcome
        return outcomes

    def _blocks(self, places: Mapping[str, Sequence[int]]) -> Iterator[list[str]]:
        """Users who fit into memory, each with all of its listens."""
        block: list[str] = []
        number = 0
        for user, own in places.items():
            if len(block) == self.max_users or number + len(own) > _LISTENS_AT_ONCE:
                yield block
                block, number = [], 0
            block.append(user)
            number += len(own)
        yield block

    def _observe(self, listens: Sequence[Listen]) -> list[Outcome]:
        """Of at most `max_users` users."""
        users = list(dict.fromkeys(listen.user_id for listen in listens))
        self._bring(users)
        rows = dict(zip(users, self._residents.rows(users).tolist(), strict=True))
        earliest = {user: self._residents.earliest(row) for user, row in rows.items()}
        opened: dict[str, dict[Key, Listen]] = {
            user: {listen.key: listen for listen in self._residents.open_listens(row)}
            for user, row in rows.items()
        }
        added: dict[str, dict[Key, Listen]] = {}
        outcomes = [Outcome.ACCEPTED] * len(listens)
        early: dict[Key, int] = {}
        for number, listen in enumerate(listens):
            user, key = listen.user_id, listen.key
            before = opened[user].get(key)
            if before is not None:
                outcomes[number] = Outcome.DUPLICATE
                listen = preferred(before, listen)
            elif listen.timestamp < earliest[user]:
                # Of equal ones the first may be new.
                outcomes[number] = Outcome.DUPLICATE if key in early else Outcome.LATE
                early.setdefault(key, number)
                continue
            if listen is not before:
                opened[user][key] = listen
                added.setdefault(user, {})[key] = listen
        late: dict[str, list[Listen]] = {}
        known = self._store.known(list(early)) if early else []
        for number, is_known in zip(early.values(), known, strict=True):
            if is_known:
                outcomes[number] = Outcome.DUPLICATE
            else:
                late.setdefault(listens[number].user_id, []).append(listens[number])
        with self._forgotten_if_it_fails(users):
            self._change(
                {user: list(opened[user].values()) for user in added}, added=added, late=late
            )
        return outcomes

    def _bring(self, users: Sequence[str]) -> None:
        """Loads those of the distinct users, at most `max_users`, that are not in memory."""
        missing = self._residents.find(users)
        if not missing:
            return
        with self.work.timed(work.LOAD):
            stored = self._store.load(missing)
        self.work.loads += len(stored)
        if not stored:
            return
        records, heard = self._carrier.new(len(stored)), [user_state.NOTHING_HEARD] * len(stored)
        for number, user in enumerate(stored.values()):
            if user.state is not None:
                found = user_state.from_bytes(user.state, self._carrier.dtype)
                records[number], heard[number] = found
        past = Past(records, records, ((),) * len(stored))
        with self._forgotten_if_it_fails(stored):
            self._residents.put(list(stored), past, heard)
            self.work.evictions = self._residents.evictions
            self._change(
                {u: list(kept.open_listens) for u, kept in stored.items() if kept.open_listens}
            )

    @contextmanager
    def _forgotten_if_it_fails(self, users: Collection[str]) -> Iterator[None]:
        """So that users in memory are as the store has them, whatever it has taken: read again."""
        try:
            yield
        except BaseException:
            self._residents.forget(users)
            raise

    def _change(
        self,
        opened: Mapping[str, Sequence[Listen]],
        *,
        added: Mapping[str, Mapping[Key, Listen]] | None = None,
        late: Mapping[str, Sequence[Listen]] | None = None,
    ) -> None:
        """Settles users whose open listens have changed.

        What changes is in the store before it is in memory.

        Args:
            opened: By user, all that are open now, one or more.
            added: By user, those of them that the store does not have.
            late: By user, listens that the store does not have either.
        """
        added, late = added or {}, late or {}
        updates = {user: UserUpdate(user, late=tuple(own)) for user, own in late.items()}
        users = list(opened)
        if users:
            rows = self._residents.rows(users)
            ids = np.array([user.encode("utf-8", "surrogatepass") for user in users], object)
            settled = self._settle(ids, self._residents.past(rows), list(opened.values()))
            heard = [self._residents.heard(row) for row in rows.tolist()]
        for number, user in enumerate(users):
            state, open_from = None, None
            if settled.has_closed[number]:
                heard[number] = np.union1d(heard[number], settled.heard[number]).astype(np.int32)
                record = settled.past.closed[number]
                state, open_from = user_state.to_bytes(record, heard[number]), record["earliest"]
            # Where a session has closed and nothing was added, the states are a new generation's.
            if user in added or state is not None:
                updates[user] = UserUpdate(
                    user,
                    state=state,
                    listens=tuple(added.get(user, {}).values()),
                    open_from=None if open_from is None else int(open_from),
                    late=tuple(late.get(user, ())),
                )
        if updates:
            with self.work.timed(work.COMMIT):
                self._store.commit(list(updates.values()))
        if users:
            self._residents.put(users, settled.past, heard)
            self.work.evictions = self._residents.evictions
