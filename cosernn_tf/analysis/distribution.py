"""Fig. 1 (§4.1): how sessions are distributed over contexts, and how many users have each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cosernn_tf.analysis.clustered import CONFIDENCE, ClusteredTotals
from cosernn_tf.analysis.contexts import Dimension
from cosernn_tf.analysis.rows import Row, around
from cosernn_tf.table import SessionTable

_SESSIONS_IN, _SESSIONS = range(2)


@dataclass(frozen=True, kw_only=True)
class ContextShare(Row):
    """A bar of Fig. 1 on either side."""

    dimension: str
    context: str
    sessions: int
    session_share: float | None
    """Of all sessions; with the ends of its interval."""
    session_share_low: float | None
    session_share_high: float | None
    users: int
    """With at least one session in the context."""
    user_share: float | None
    """Of all users; with the ends of Wilson's interval."""
    user_share_low: float | None
    user_share_high: float | None


class ContextCounts:
    """Counts sessions and users by context; neither order nor grouping of users matters."""

    def __init__(self, dimensions: Sequence[Dimension]) -> None:
        self._dimensions = tuple(dimensions)
        self._totals = {d.name: ClusteredTotals(len(d), 2) for d in dimensions}
        self._with_a_session = {d.name: np.zeros(len(d), np.int64) for d in dimensions}
        self.users = 0
        self.sessions = 0

    def add(self, table: SessionTable) -> None:
        """Counts the users of `table`, of whom no other table has a session."""
        lengths = np.diff(table.row_splits)
        self.users += int(np.count_nonzero(lengths))
        self.sessions += table.num_sessions
        for dimension in self._dimensions:
            size = len(dimension)
            cells = table.user_of_session * size + dimension.of(table)
            of_user = np.bincount(cells, minlength=table.num_users * size)
            of_user = of_user.reshape(table.num_users, size)
            self._with_a_session[dimension.name] += np.count_nonzero(of_user, axis=0)
            whole = np.broadcast_to(lengths[:, None], of_user.shape)
            self._totals[dimension.name].add(np.stack([of_user, whole], axis=2))

    def sessions_in(self, dimension: Dimension) -> np.ndarray:
        """(contexts,) int64."""
        return np.rint(self._totals[dimension.name].totals[:, _SESSIONS_IN]).astype(np.int64)

    def rows(self) -> tuple[ContextShare, ...]:
        """Fig. 1, by dimension."""
        return tuple(row for d in self._dimensions for row in self._rows(d))

    def _rows(self, dimension: Dimension) -> list[ContextShare]:
        sessions, users = self.sessions_in(dimension), self._with_a_session[dimension.name]
        totals = self._totals[dimension.name]
        share, low, high = totals.ratio_intervals(_SESSIONS_IN, _SESSIONS)
        rows = []
        for row in dimension.rows(sessions):
            count = int(users[row])
            of_users = stats.binomtest(count, self.users).proportion_ci(CONFIDENCE, method="wilson")
            rows.append(
                ContextShare(
                    dimension=dimension.name,
                    context=dimension.contexts[row],
                    sessions=int(sessions[row]),
                    users=count,
                    **around("session_share", share[row], max(low[row], 0.0), min(high[row], 1.0)),
                    **around("user_share", count / self.users, of_users.low, of_users.high),
                )
            )
        return rows
