"""From the listens of users' open sessions to closed sessions and open ones.

The listens since the last closed session go through the session rules of the pipeline again each
time that one is added: all sessions but the last are closed then, whatever comes later. A listen
that could have changed a closed session, or its bounds, does not reach these rules: it is late.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cosernn_tf.features import embed_sessions
from cosernn_tf.models.stepping import SESSIONS
from cosernn_tf.schema import AGE_UNKNOWN, EMBEDDING_DIM
from cosernn_tf.serving.carrier import Carrier, Contents, Starts
from cosernn_tf.serving.listens import Columns, Listen, columns, ordered, start_of
from cosernn_tf.sessions import NULL, Sessions, ends, infer_skipped, sessionize


@dataclass(frozen=True)
class Catalogue:
    """What listens name, in the rows of the vocabularies."""

    row_of_track: Mapping[str, int]
    """Also of tracks that were added to the index."""
    vectors_of: Callable[[np.ndarray], np.ndarray]
    """(n, dim) float32 track embeddings of (n,) rows, zero where there is none."""
    row_of_source: Mapping[str, int]

    def track_rows(self, tracks: Sequence[str]) -> np.ndarray:
        """(n,) int64; -1 of one that there is not."""
        return np.fromiter((self.row_of_track.get(t, -1) for t in tracks), np.int64, len(tracks))

    def embeddings(self, rows: np.ndarray) -> np.ndarray:
        """(n, dim), zero where there is none."""
        found = np.zeros((len(rows), EMBEDDING_DIM), np.float32)
        found[rows >= 0] = self.vectors_of(rows[rows >= 0])
        return found


@dataclass(frozen=True)
class Past:
    """Users before their open sessions, and after them if they ended now."""

    closed: np.ndarray
    """(n,) records."""
    current: np.ndarray
    """(n,) records; those of `closed` where no session is open."""
    open_listens: tuple[tuple[Listen, ...], ...]
    """Of each user, by time and track."""


@dataclass(frozen=True)
class Settled:
    """The same with listens that were added."""

    past: Past
    has_closed: np.ndarray
    """(n,) bool: a session was closed."""
    heard: tuple[np.ndarray, ...]
    """Of each user, rows of the track vocabulary in the sessions that were."""


class Settler:
    """Applies the session rules to the open listens of users."""

    def __init__(self, carrier: Carrier, catalogue: Catalogue, *, gap_seconds: int) -> None:
        self._carrier = carrier
        self._catalogue = catalogue
        self.gap_seconds = gap_seconds

    def __call__(
        self, users: np.ndarray, past: Past, listens: Sequence[Sequence[Listen]]
    ) -> Settled:
        """Settles the listens of users.

        Args:
            users: (n,) object: ids, bytes.
            past: Theirs so far. Where a session is open, `current` is as this method gave it.
            listens: Of each one or more, the open ones among them, no two with the same key; none
                starts before `earliest` of the record in `past.closed`.
        """
        in_order = [ordered(own) for own in listens]
        cols = columns(in_order)
        skipped, _ = infer_skipped(cols.listens)
        closed = past.closed.copy()
        found = sessionize(
            cols.listens,
            skipped,
            user_id=users,
            user_age=np.full(len(users), AGE_UNKNOWN),
            previous_end=np.where(closed[SESSIONS] > 0, closed["end"], NULL),
            gap_seconds=self.gap_seconds,
        )
        rows = self._catalogue.track_rows(cols.tracks)
        starts, contents = self._described(cols, found, skipped, rows)
        first, counts = found.table.row_splits[:-1], np.diff(found.table.row_splits)
        steps_again = np.array(
            [
                not before or start_of(before[0]) != start_of(after[0])
                for before, after in zip(past.open_listens, in_order, strict=True)
            ]
        )
        current = past.current.copy()
        for number in range(counts.max()):
            (active,) = np.nonzero(counts > number)
            sessions = first[active] + number
            records = closed[active]
            # The state after the open session is that of its start: only another start changes it.
            state = self._carrier.state_in(current[active])
            again = steps_again[active] if number == 0 else np.ones(len(active), bool)
            if again.any():
                (these,) = np.nonzero(again)
                stepped = self._carrier.stepped(
                    records[these], users[active[these]], starts.take(sessions[these])
                )
                for name, values in stepped.items():
                    state[name][these] = values
            self._carrier.close(records, state, contents.take(sessions))
            ends_here = counts[active] > number + 1
            closed[active[ends_here]] = records[ends_here]
            current[active[~ends_here]] = records[~ends_here]
        kept, heard = self._split(found, in_order, rows[cols.listens.track])
        return Settled(Past(closed, current, kept), counts > 1, heard)

    def _described(
        self, cols: Columns, found: Sessions, skipped: np.ndarray, rows: np.ndarray
    ) -> tuple[Starts, Contents]:
        """How the sessions start, and what is in them."""
        table, listens = found.table, found.listens
        # Null, -1, reads the row appended at the end.
        of_source = self._catalogue.row_of_source
        source_rows = np.array([*(of_source.get(name, 0) for name in cols.stream_sources), 0])
        source = source_rows[table.stream_source]
        starts = Starts(
            table.day_of_week, table.hour, table.device, source, table.seconds_since_last
        )
        last = np.flatnonzero(np.diff(found.session_of_listen, append=table.num_sessions))
        end = ends(listens)[last]
        # Whether the last listen was skipped may have been told by the start of the next one; an
        # earlier one must not tell otherwise.
        duration = listens.track_duration_ms[last]
        by_next = (
            (listens.skipped[last] == NULL)
            & (listens.ms_played[last] == NULL)
            & (duration != NULL)
            & ~skipped[last]
        )
        half = listens.timestamp[last] - (-duration // 2_000)
        earliest = np.maximum(end + self.gap_seconds, np.where(by_next, half, 0))
        contents = Contents(
            embed_sessions(table, self._catalogue.embeddings(rows)),
            table.num_tracks,
            source,
            end,
            earliest,
        )
        return starts, contents

    @staticmethod
    def _split(
        found: Sessions, in_order: Sequence[Sequence[Listen]], track_row: np.ndarray
    ) -> tuple[tuple[tuple[Listen, ...], ...], tuple[np.ndarray, ...]]:
        """The open listens of each user, and the distinct known tracks of the closed sessions."""
        last_session = found.table.row_splits[1:] - 1
        number_open = np.bincount(found.session_of_listen)[last_session]
        opened, heard, start = [], [], 0
        for own, number in zip(in_order, number_open.tolist(), strict=True):
            end = start + len(own)
            opened.append(tuple(own[len(own) - number :]))
            rows = track_row[start : end - number]
            heard.append(np.unique(rows[rows >= 0]))
            start = end
        return tuple(opened), tuple(heard)
