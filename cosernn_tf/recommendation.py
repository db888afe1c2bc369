"""Recommends tracks for a session that is about to start: model, then index (§7).

The session asked for becomes one more row at the end of the user's table, so that the windows and
the prediction of evaluation do the rest.
"""

import dataclasses
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from cosernn_tf.config import require
from cosernn_tf.dataset import read_user
from cosernn_tf.errors import on_a_line
from cosernn_tf.features import embed_sessions
from cosernn_tf.prediction import Predictor
from cosernn_tf.retrieval.index import open_index
from cosernn_tf.retrieval.track_index import TrackIndex
from cosernn_tf.runs import INDEX
from cosernn_tf.schema import (
    DAYS_OF_WEEK,
    SESSION_FEATURES,
    SESSION_GAP_SECONDS,
    SKIPPED_PADDING,
    TRACK_PADDING,
    Per,
)
from cosernn_tf.sessions import local_day_and_hour
from cosernn_tf.table import SessionTable
from cosernn_tf.trained_run import TrainedRun, open_trained_run
from cosernn_tf.windows import MIN_EARLIER_SESSIONS, evaluation_windows, sequence_data
from cosernn_tf.workspace import Workspace


@dataclass(frozen=True)
class RankedTrack:
    """A recommended track."""

    rank: int
    """From 1."""
    track_id: str
    score: float
    """Cosine of the user embedding and the track embedding."""


@dataclass(frozen=True)
class Recommendation:
    """The answer for one user in one context."""

    user: str
    run: str
    at: str
    """Start of the session, RFC 3339, with the offset of the user's clock."""
    device: str
    day_of_week: str
    hour: int
    """0..23 on the user's clock."""
    earlier_sessions: int
    """Of the user, that the answer rests on; with 0 it rests on age and context alone."""
    long_term_attention: float | None
    """β̄, the weight of the long-term embedding against the offset (§5.1.4); None without one."""
    tracks: tuple[RankedTrack, ...]

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def to_text(self) -> str:
        """A heading and a table, for people."""
        attention = (
            ""
            if self.long_term_attention is None
            else f", attention on the long-term embedding: {self.long_term_attention:.2f}"
        )
        history = f"earlier sessions: {self.earlier_sessions or 'none (cold start)'}"
        names = [on_a_line(track.track_id) for track in self.tracks]
        width = max(map(len, ["track", *names]))
        lines = [
            f"{on_a_line(self.user)} on {self.device} at {self.at} "
            f"({self.day_of_week}, {self.hour:02}h)",
            f"run: {self.run}, {history}{attention}",
            "",
            f"{'rank':>4}  {'track':<{width}}  {'score':>6}",
            *(
                f"{track.rank:>4}  {name:<{width}}  {track.score:>6.3f}"
                for track, name in zip(self.tracks, names, strict=True)
            ),
        ]
        return "\n".join(lines)


class Recommender:
    """Answers for any user of a workspace with one run; opens everything once."""

    def __init__(self, run: TrainedRun, index: TrackIndex) -> None:
        self._run = run
        self._index = index
        self._predictor = Predictor(run.model)
        self._track_ids = index.track_ids(run.sessions.tracks["track_id"])

    @classmethod
    def open(cls, workspace: Workspace, run: str) -> "Recommender":
        """Opens a finished run and its index.

        Raises:
            UserError: There is no such run or no index of it, or the workspace holds other data.
        """
        trained = open_trained_run(workspace, run)
        return cls(trained, open_index(trained.path / INDEX, trained.embeddings))

    def recommend(
        self,
        user: str,
        *,
        device: str,
        at: datetime,
        k: int = 10,
        stream_source: str | None = None,
    ) -> Recommendation:
        """The k tracks nearest to the user embedding predicted for a session.

        Args:
            user: Of the listening log.
            device: On which the session starts, of the device vocabulary.
            at: When it starts; its UTC offset is that of the user's clock. The sessions of the
                user that started earlier are what the prediction rests on.
            k: Number of tracks.
            stream_source: Where playback will be started from, of the vocabulary; for runs with
                the feature current_stream_source. None: unknown.

        Raises:
            UserError: An unknown user, device or stream source, a stream source that the run does
                not ask for, a time without offset, or a k out of range.
        """
        sessions = self._run.sessions
        require(at.utcoffset() is not None, f"the time {at.isoformat()} has no UTC offset")
        require(k >= 1, f"--k={k} must be at least 1")
        tracks = self._index.size
        require(k <= tracks, f"--k={k} is more than the {tracks} tracks that have an embedding")
        devices = sessions.devices
        require(
            device in devices, f"--device={device} is unknown: choose from {', '.join(devices)}"
        )
        table = with_session(
            read_user(sessions, user),
            start=at,
            device=devices.index(device),
            stream_source=self._row_of_stream_source(stream_source),
        )
        embeddings = embed_sessions(table, self._run.embeddings.vectors)
        data = sequence_data(table, embeddings, self._predictor.inputs)
        windows = evaluation_windows(
            table,
            first=int(table.session_start[-1]),
            before=None,
            max_sessions=max(self._run.config.max_sessions, 2 * MIN_EARLIER_SESSIONS),
        )
        predicted = self._predictor(data, windows)
        found = self._index.search(predicted.embeddings, k)
        return Recommendation(
            user=user,
            run=self._run.path.name,
            at=at.isoformat(),
            device=device,
            day_of_week=DAYS_OF_WEEK[table.day_of_week[-1]],
            hour=int(table.hour[-1]),
            earlier_sessions=table.num_sessions - 1,
            long_term_attention=(
                None if predicted.attention is None else float(predicted.attention[0, 1])
            ),
            tracks=tuple(
                RankedTrack(rank, self._track_ids[int(row)].as_py(), float(score))
                for rank, (row, score) in enumerate(
                    zip(found.rows[0], found.scores[0], strict=True), start=1
                )
            ),
        )

    def _row_of_stream_source(self, name: str | None) -> int:
        if name is None:
            return 0
        run, sources = self._run, self._run.sessions.stream_sources
        require(
            "current_stream_source" in run.config.model.features,
            f"--stream_source={name} has no use: run {run.path.name!r} was trained without "
            "current_stream_source among its --features",
        )
        require(
            name in sources, f"--stream_source={name} is unknown: choose from {', '.join(sources)}"
        )
        return sources.index(name)


def with_session(
    table: SessionTable, *, start: datetime, device: int, stream_source: int = 0
) -> SessionTable:
    """One user's sessions before `start`, and one more, without tracks, that starts then.

    The seconds since the last session are exact where the log has a later session of the user (it
    tells when the one before it ended), else estimated, see `_end_of_last`. They are at least
    `SESSION_GAP_SECONDS`: after less inactivity it would be no new session (§3).

    Args:
        table: All sessions of one user.
        start: Of the new session, with the UTC offset of the user's clock.
        device: Row of the device vocabulary.
        stream_source: Row of the stream-source vocabulary.
    """
    offset = start.utcoffset()
    assert offset is not None
    second = math.floor(start.timestamp())
    day_of_week, hour = local_day_and_hour(
        np.array([second]), np.array([offset // timedelta(minutes=1)])
    )
    earlier = int(np.searchsorted(table.session_start, second))
    since_last = 0
    if earlier:
        since_last = max(SESSION_GAP_SECONDS, second - _end_of_last(table, earlier))
    added: dict[str, Any] = {
        "session_start": second,
        "day_of_week": day_of_week[0],
        "hour": hour[0],
        "device": device,
        "stream_source": stream_source,
        # What becomes of the new session is not known, and no prediction for it asks.
        "num_tracks": 0,
        "seconds_since_last": since_last,
        "track": TRACK_PADDING,
        "skipped": SKIPPED_PADDING,
    }
    columns = {}
    for feature in SESSION_FEATURES:
        column = getattr(table, feature.name)
        if feature.per is not Per.USER:
            row = np.full((1, *column.shape[1:]), added[feature.name], column.dtype)
            column = np.concatenate([column[:earlier], row])
        columns[feature.name] = column
    return SessionTable(row_splits=np.array([0, earlier + 1]), **columns)


def _end_of_last(table: SessionTable, earlier: int) -> int:
    """UTC second at which the last of the user's first `earlier` sessions ended.

    Sessions are stored with the time since the end of the one before, so a session after it gives
    its end exactly. The end of the very last session of the log is not stored: it is estimated from
    its number of listens and the seconds a listen took in the user's earlier sessions, or is its
    start if there is none.
    """
    ends = table.session_start[1:] - table.seconds_since_last[1:]
    if earlier <= len(ends):
        return int(ends[earlier - 1])
    seconds = (ends - table.session_start[:-1]).sum()
    listens = max(1, table.num_tracks[:-1].sum())
    return int(table.session_start[-1] + table.num_tracks[-1] * seconds / listens)
