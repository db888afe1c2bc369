"""The sessions of a user, for people to look at."""

from collections.abc import Sequence

import numpy as np

from cosernn_tf.dataset import find_user
from cosernn_tf.schema import AGE_UNKNOWN, DAYS_OF_WEEK, DEVICES
from cosernn_tf.serving.answers import PastSession, PastTrack
from cosernn_tf.serving.listens import Listen, columns, ordered
from cosernn_tf.serving.logged import ends
from cosernn_tf.sessions import infer_skipped, sessionize
from cosernn_tf.table import SessionTable
from cosernn_tf.workspace import SessionsDirectory


def past_sessions(
    user: str,
    last: int,
    *,
    sessions: SessionsDirectory,
    track_ids: Sequence[str],
    listens: Sequence[Listen],
    gap_seconds: int,
) -> tuple[PastSession, ...]:
    """At most so many of the latest sessions of a user, the oldest of them first.

    Args:
        user: Any.
        last: How many.
        sessions: Of the log, which may have the user.
        track_ids: Of the track vocabulary.
        listens: That have come in, in any order; those that the log has, or that would belong to a
            session of it, are left out.
        gap_seconds: That separates sessions.

    Raises:
        UserError: The files of the log are others now than when it was opened.
    """
    found: list[PastSession] = []
    open_from = 0
    table = find_user(sessions, user)
    if table is not None and table.num_sessions:
        found += _sessions(table, track_ids, last)
        open_from = int(ends(table)[-1]) + gap_seconds
    own = ordered(listen for listen in listens if listen.timestamp >= open_from)
    if own:
        cols = columns([own])
        skipped, _ = infer_skipped(cols.listens)
        table = sessionize(
            cols.listens,
            skipped,
            user_id=np.array([user.encode("utf-8", "surrogatepass")], object),
            user_age=np.array([AGE_UNKNOWN]),
            gap_seconds=gap_seconds,
        ).table
        found += _sessions(table, cols.tracks, last, last_is_open=True)
    return tuple(found[-last:]) if last > 0 else ()


def _sessions(
    table: SessionTable, track_ids: Sequence[str], last: int, *, last_is_open: bool = False
) -> list[PastSession]:
    """The last so many sessions of a table of one user."""
    found = []
    for row in range(max(0, table.num_sessions - last), table.num_sessions):
        tracks = zip(table.track[row].tolist(), table.skipped[row].tolist(), strict=True)
        found.append(
            PastSession(
                start=int(table.session_start[row]),
                device=DEVICES[table.device[row]],
                day_of_week=DAYS_OF_WEEK[table.day_of_week[row]],
                hour=int(table.hour[row]),
                num_tracks=int(table.num_tracks[row]),
                tracks=tuple(
                    PastTrack(track_ids[track] if track >= 0 else None, skipped == 1)
                    for track, skipped in tracks
                    if skipped >= 0
                ),
                is_open=last_is_open and row == table.num_sessions - 1,
            )
        )
    return found
