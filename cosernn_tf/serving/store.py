"""What is kept of users beyond the memory of a process: the contract, and one in memory.

A store has the listens of users, and their states. States belong to a generation: the model, the
embeddings and the session sequences that they were made with (`serving.generation`). Listens belong
to none: with another generation's states, those since the end of its session sequences are open
again, and are settled when the user is next asked for. So a new model takes over without a replay.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cosernn_tf.serving.listens import Key, Listen


@dataclass(frozen=True, slots=True)
class StoredUser:
    """What a store has of a user."""

    state: bytes | None
    """`user_state.to_bytes` of what precedes the open listens; None: it has none in this
    generation, and all listens are open."""
    open_listens: tuple[Listen, ...]
    """Those that are not in the state, nor late: of the open session and, with the states of a new
    generation, maybe of others before. In any order."""


@dataclass(frozen=True, slots=True)
class UserUpdate:
    """What has changed of a user."""

    user: str
    state: bytes | None = None
    """None: it has not changed."""
    listens: tuple[Listen, ...] = ()
    """New ones that are no late ones, or a longer play that replaces the one with its key."""
    open_from: int | None = None
    """UTC seconds: listens that start before are in the state now. None: unchanged; all listens are
    open of a user for whom it was never given in this generation."""
    late: tuple[Listen, ...] = ()
    """New ones that are no part of the state: never among the open listens."""


class StoreError(Exception):
    """A store did not give or take something; of a `commit`, all or nothing is stored."""


class StateStore(Protocol):
    """States of one generation, and listens; used by one thread at a time."""

    def load(self, users: Sequence[str]) -> dict[str, StoredUser]:
        """Of those users of whom there is a state in this generation, or a listen that is not late.

        The others are unknown.
        """
        ...

    def commit(self, updates: Sequence[UserUpdate]) -> None:
        """Stores all of it or, if it raises, nothing; durable when it returns.

        Args:
            updates: At most one of a user.
        """
        ...

    def known(self, keys: Sequence[Key]) -> list[bool]:
        """Whether there is such a listen, be it late or not."""
        ...

    def listens(self, user: str) -> list[Listen]:
        """All of a user but late ones, in any order."""
        ...

    def is_complete(self) -> bool:
        """Whether all users of the session sequences have a state in this generation."""
        ...

    def complete(self) -> None:
        """Says that they have."""
        ...

    def keep_only(self, generations: Collection[str]) -> None:
        """Deletes the states of all generations but these, in many short commits.

        Raises:
            StoreError: The store fails; some may be deleted then.
        """
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class _Kept:
    listens: dict[Key, Listen] = field(default_factory=dict)
    late: set[Key] = field(default_factory=set)
    open_from: int = 0
    state: bytes | None = None

    def on_time(self) -> list[Listen]:
        return [listen for key, listen in self.listens.items() if key not in self.late]


class MemoryStore:
    """A store that ends with the process, of one generation; it keeps all that it is given."""

    def __init__(self) -> None:
        self._users: dict[str, _Kept] = {}
        self._is_complete = False

    def load(self, users: Sequence[str]) -> dict[str, StoredUser]:
        found = {}
        for user in users:
            kept = self._users.get(user)
            if kept is None:
                continue
            listens = kept.on_time()
            if kept.state is not None or listens:
                own = (listen for listen in listens if listen.timestamp >= kept.open_from)
                found[user] = StoredUser(kept.state, tuple(own))
        return found

    def commit(self, updates: Sequence[UserUpdate]) -> None:
        for update in updates:
            kept = self._users.setdefault(update.user, _Kept())
            kept.listens |= {listen.key: listen for listen in (*update.listens, *update.late)}
            kept.late |= {listen.key for listen in update.late}
            if update.state is not None:
                kept.state = update.state
            if update.open_from is not None:
                kept.open_from = update.open_from

    def known(self, keys: Sequence[Key]) -> list[bool]:
        return [key[0] in self._users and key in self._users[key[0]].listens for key in keys]

    def listens(self, user: str) -> list[Listen]:
        kept = self._users.get(user)
        return kept.on_time() if kept is not None else []

    def is_complete(self) -> bool:
        return self._is_complete

    def complete(self) -> None:
        self._is_complete = True

    def keep_only(self, generations: Collection[str]) -> None:
        """There is but one."""

    def close(self) -> None:
        pass
