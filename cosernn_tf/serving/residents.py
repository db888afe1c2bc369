"""The users in memory: a row each in arrays, so that a batch of them is gathered at once."""

import mmap
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from cosernn_tf.serving.listens import Listen
from cosernn_tf.serving.settle import Past
from cosernn_tf.serving.user_state import NOTHING_HEARD

NOBODY: Final = 0
"""Row of users that are not known: they have no past."""

_MAP_NORESERVE: Final = 0x4000
"""Of Linux; Python has no name for it yet."""


class Residents:
    """At most so many users; the one that was asked for longest ago makes room."""

    def __init__(self, dtype: np.dtype, max_users: int) -> None:
        self._closed = _reserved(max_users + 1, dtype)
        self._current = _reserved(max_users + 1, dtype)
        self._open: list[tuple[Listen, ...]] = [()]
        self._heard = [NOTHING_HEARD]
        self._row_of: OrderedDict[str, int] = OrderedDict()
        self._free: list[int] = []
        self.max_users = max_users
        self.evictions = 0
        """Users who have made room so far."""

    def __len__(self) -> int:
        return len(self._row_of)

    def find(self, users: Sequence[str]) -> list[str]:
        """Those of the distinct users that are not here; the others will be the last to go."""
        missing = []
        for user in users:
            if user in self._row_of:
                self._row_of.move_to_end(user)
            else:
                missing.append(user)
        return missing

    def rows(self, users: Sequence[str]) -> np.ndarray:
        """(n,) of users; `NOBODY` of those that are not here."""
        return np.fromiter((self._row_of.get(user, NOBODY) for user in users), np.int64, len(users))

    def past(self, rows: np.ndarray) -> Past:
        opened = tuple(self._open[row] for row in rows.tolist())
        return Past(self._closed[rows], self._current[rows], opened)

    def current(self, rows: np.ndarray) -> np.ndarray:
        """(n,) records: what precedes a session that starts now."""
        return self._current[rows]

    def earliest(self, row: int) -> int:
        """UTC second before which no listen can start that the open session takes in."""
        return int(self._closed["earliest"][row])

    def open_listens(self, row: int) -> tuple[Listen, ...]:
        return self._open[row]

    def heard(self, row: int) -> np.ndarray:
        """(n,) int32, ascending: rows of the track vocabulary in the closed sessions."""
        return self._heard[row]

    def put(self, users: Sequence[str], past: Past, heard: Sequence[np.ndarray]) -> None:
        """Replaces users that are here, and adds the others: at most `max_users`."""
        rows = np.fromiter((self._row_for(user) for user in users), np.int64, len(users))
        self._closed[rows], self._current[rows] = past.closed, past.current
        for row, listens, tracks in zip(rows.tolist(), past.open_listens, heard, strict=True):
            self._open[row], self._heard[row] = listens, tracks

    def forget(self, users: Collection[str]) -> None:
        """Leaves out those of the users that are here: they are to be read again."""
        self._free += [self._row_of.pop(user) for user in users if user in self._row_of]

    def _row_for(self, user: str) -> int:
        row = self._row_of.get(user)
        if row is None:
            if self._free:
                row = self._free.pop()
            elif len(self._row_of) >= self.max_users:
                _, row = self._row_of.popitem(last=False)
                self.evictions += 1
            else:
                row = len(self._open)
                self._open.append(())
                self._heard.append(NOTHING_HEARD)
            self._row_of[user] = row
        else:
            self._row_of.move_to_end(user)
        return row


def _reserved(rows: int, dtype: np.dtype) -> np.ndarray:
    """(rows,) zeros that take memory when they are first written to.

    An array that grows would be copied again and again, and everybody wait for it.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    return np.frombuffer(mmap.mmap(-1, rows * dtype.itemsize, flags=flags), dtype)
