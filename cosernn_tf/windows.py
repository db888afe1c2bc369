"""Windows of users' sequences: what the RNN sees at once, in training and in evaluation.

Pure NumPy. A window is a run of one user's sessions; those from `first_target` on that are
targets carry weight 1, the ones before only warm the RNN up. Long users lose nothing
(decision 12): training cuts them into consecutive windows, evaluation lets windows overlap by
half. The long-term embedding comes from the whole history either way.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from cosernn_tf.features import SessionEmbeddings, previous, weighted_history
from cosernn_tf.schema import MODEL_INPUTS, Per, age_bucket
from cosernn_tf.table import SessionTable

MIN_EARLIER_SESSIONS: Final = 200
"""Earlier sessions that a run sees through its RNN, of those that there are (decision 12)."""


NEVER: Final = np.iinfo(np.int32).max
"""Sessions until a track is listened to again, if it is not."""


@dataclass(frozen=True)
class Windows:
    """W windows over the rows of a table, each (W,) int64."""

    user: np.ndarray
    start: np.ndarray
    first_target: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> np.ndarray:
        return self.end - self.start

    def take(self, rows: np.ndarray) -> "Windows":
        return Windows(self.user[rows], self.start[rows], self.first_target[rows], self.end[rows])


@dataclass(frozen=True)
class SequenceData:
    """Model inputs and targets of a table's S sessions and U users; batches are cut from it."""

    inputs: Mapping[str, np.ndarray]
    """Of `schema.MODEL_INPUTS`: (U,) per user, (S, ...) per session."""
    target: np.ndarray
    """s⁺, (S, dim) float32."""
    is_target: np.ndarray
    """(S,) bool: has an s⁺."""
    track: np.ndarray
    """(S, 10) rows of the track vocabulary, of losses that rank tracks; negative where none is."""

    def only(self, inputs: Collection[str]) -> "SequenceData":
        """The same with these inputs."""
        return replace(self, inputs={name: self.inputs[name] for name in inputs})


def sequence_data(
    table: SessionTable, embeddings: SessionEmbeddings, inputs: Collection[str] | None = None
) -> SequenceData:
    """The inputs f_t of §5.1.2: context of session t, everything else of session t - 1.

    Args:
        table: S sessions of U users.
        embeddings: Of the sessions.
        inputs: Names of those of `schema.MODEL_INPUTS` to compute; None: of all.
    """
    splits = table.row_splits
    compute: dict[str, Callable[[], np.ndarray]] = {
        "age_bucket": lambda: age_bucket(table.user_age),
        "user_id": lambda: table.user_id,
        "day_of_week": lambda: table.day_of_week,
        "hour": lambda: table.hour,
        "device": lambda: table.device,
        "last_played": lambda: previous(embeddings.played, splits),
        "last_skipped": lambda: previous(embeddings.skipped, splits),
        "last_all": lambda: previous(embeddings.all, splits),
        "last_num_tracks": lambda: previous(table.num_tracks, splits),
        "last_stream_source": lambda: previous(table.stream_source, splits),
        "seconds_since_last": lambda: table.seconds_since_last,
        "current_stream_source": lambda: table.stream_source,
        "long_term": lambda: weighted_history(embeddings.all, splits),
    }
    return SequenceData(
        inputs={
            # NumPy has strings as objects.
            spec.name: compute[spec.name]().astype(spec.dtype.replace("string", "O"), copy=False)
            for spec in MODEL_INPUTS
            if inputs is None or spec.name in inputs
        },
        target=embeddings.played,
        is_target=embeddings.has_played,
        track=table.track,
    )


def training_windows(table: SessionTable, *, before: int, max_sessions: int) -> Windows:
    """Consecutive windows over all sessions that start before `before` (UTC seconds)."""
    ends = _first_at_or_after(table, before)
    return _cut(table.row_splits[:-1], ends, size=max_sessions, warm_up=0, table=table)


def evaluation_windows(
    table: SessionTable, *, first: int, before: int | None, max_sessions: int
) -> Windows:
    """Windows whose targets are the sessions that start in [first, before), each target once.

    A target sees all earlier sessions of its user through the RNN, or at least
    `max_sessions // 2` of them.
    """
    starts = _first_at_or_after(table, first)
    ends = table.row_splits[1:] if before is None else _first_at_or_after(table, before)
    warm_up = max_sessions // 2
    # A user whose sequence fits needs no second window.
    whole = ends - table.row_splits[:-1] <= max_sessions
    short = _cut(np.where(whole, starts, ends), ends, size=max_sessions, warm_up=None, table=table)
    long = _cut(
        np.where(whole, ends, starts),
        ends,
        size=max_sessions - warm_up,
        warm_up=warm_up,
        table=table,
    )
    return Windows(
        *(
            np.concatenate([getattr(short, name), getattr(long, name)])
            for name in ("user", "start", "first_target", "end")
        )
    )


def _first_at_or_after(table: SessionTable, time: int) -> np.ndarray:
    """(U,) row of each user's first session at or after `time`; the user's end if none."""
    earlier = np.concatenate([[0], np.cumsum(table.session_start < time)])
    return table.row_splits[:-1] + earlier[table.row_splits[1:]] - earlier[table.row_splits[:-1]]


def _cut(
    starts: np.ndarray, ends: np.ndarray, *, size: int, warm_up: int | None, table: SessionTable
) -> Windows:
    """Cuts each user in pieces of `size`; each reaches back `warm_up` sessions (None: all)."""
    pieces = -(-(ends - starts) // size)
    user = np.repeat(np.arange(table.num_users), pieces)
    number = np.arange(len(user)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first_target = starts[user] + number * size
    user_start = table.row_splits[:-1][user]
    start = user_start if warm_up is None else np.maximum(user_start, first_target - warm_up)
    return Windows(user, start, first_target, np.minimum(first_target + size, ends[user]))


@dataclass(frozen=True)
class Batch:
    """B windows, right-padded to T sessions."""

    inputs: dict[str, np.ndarray]
    """Those of the data: (B,) per user, (B, T, ...) per session."""
    target: np.ndarray
    """(B, T, dim) float32."""
    weight: np.ndarray
    """(B, T) float32: 1 for a target, 0 for warm-up, padding and sessions without s⁺."""
    sessions: np.ndarray
    """(B, T) int64 row of the table; valid where a window has a session."""


def make_batch(data: SequenceData, windows: Windows) -> Batch:
    """Gathers the sessions of `windows`; padding repeats the last one, with weight 0."""
    steps = np.arange(windows.lengths.max())
    sessions = np.minimum(windows.start[:, None] + steps, windows.end[:, None] - 1)
    weight = (
        (windows.start[:, None] + steps >= windows.first_target[:, None])
        & (steps < windows.lengths[:, None])
        & data.is_target[sessions]
    )
    inputs = {
        spec.name: data.inputs[spec.name][windows.user if spec.per is Per.USER else sessions]
        for spec in MODEL_INPUTS
        if spec.name in data.inputs
    }
    return Batch(inputs, data.target[sessions], weight.astype(np.float32), sessions)


class Labels(NamedTuple):
    """What a loss compares predictions of N sessions with: arrays, or tensors."""

    target: Any
    """s⁺, (N, 1, dim) float32; zero where there is none."""
    weight: Any
    """(N, 1) float32: 1 for a target, 0 for warm-up and sessions without s⁺."""
    track: Any
    """(N, 1, 10) int32 rows of the track vocabulary; negative where there is none."""
    since: Any
    """(N, 1, 10) int32: sessions since the same track was last listened to in this window.

    0 where it was not, where there is no track, and where it is a repeat within the session.
    """
    until: Any
    """(N, 1, 10) int32: sessions until the same track is next listened to in this window.

    `NEVER` where it is not; 0 where there is no track, or another listen of the session repeats it.
    """


@dataclass(frozen=True)
class PackedBatch:
    """B windows without padding, in N rows: their first sessions, then their second ones ...

    The longest window comes first. `cosernn_tf.models.packing` says how models take it.
    """

    inputs: dict[str, np.ndarray]
    """Those of the data: (B,) per user, (N, 1, ...) per session."""
    target: np.ndarray
    """(N, 1, dim) float32."""
    weight: np.ndarray
    """(N, 1) float32: 1 for a target, 0 for warm-up and sessions without s⁺."""
    track: np.ndarray
    """(N, 1, 10) int32 rows of the track vocabulary; negative where there is none."""
    active: np.ndarray
    """(T,) int32: windows that have a session at each step; they are the first ones."""

    def labels(self, *, repeats: bool = True) -> Labels:
        """Without `repeats`, which take as long as all else, `since` and `until` are zero."""
        since = until = np.zeros_like(self.track[:, 0])
        if repeats:
            since, until = _repeats(self.track[:, 0], self.active)
        return Labels(self.target, self.weight, self.track, since[:, None], until[:, None])


def pack_batch(data: SequenceData, windows: Windows) -> PackedBatch:
    """Gathers the sessions of `windows`, one or more."""
    windows = _longest_first(windows)
    steps = np.arange(windows.lengths[0])
    active = np.searchsorted(-windows.lengths, -steps)
    step, window = _steps_and_windows(active)
    sessions = windows.start[window] + step
    weight = (sessions >= windows.first_target[window]) & data.is_target[sessions]
    inputs = {
        spec.name: data.inputs[spec.name][windows.user]
        if spec.per is Per.USER
        else data.inputs[spec.name][sessions, None]
        for spec in MODEL_INPUTS
        if spec.name in data.inputs
    }
    return PackedBatch(
        inputs,
        target=data.target[sessions, None],
        weight=weight[:, None].astype(np.float32),
        track=data.track[sessions, None].astype(np.int32),
        active=active.astype(np.int32),
    )


def _steps_and_windows(active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int64 each, of the rows of a packed batch."""
    step = np.repeat(np.arange(len(active)), active)
    return step, np.arange(len(step)) - np.repeat(np.cumsum(active) - active, active)


def _repeats(track: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`Labels.since` and `Labels.until` of N sessions in packed order, (N, 10) int32 each."""
    step, window = _steps_and_windows(active)
    row, slot = np.nonzero(track >= 0)
    listen = track[row, slot].astype(np.int64) * len(track) + window[row]
    # Listens come in the order of their steps, and stay in it.
    order = np.argsort(listen, kind="stable")
    row, slot, listen = row[order], slot[order], listen[order]
    is_repeat = listen[1:] == listen[:-1]
    lag = np.where(is_repeat, step[row[1:]] - step[row[:-1]], NEVER).astype(np.int32)
    since, until = np.zeros(track.shape, np.int32), np.zeros(track.shape, np.int32)
    since[row[1:], slot[1:]] = np.where(is_repeat, lag, 0)
    until[row, slot] = np.append(lag, NEVER)
    return since, until


def split_by_rows(windows: Windows, *, max_rows: int) -> list[Windows]:
    """Splits windows, the longest first, in parts of at most `max_rows` sessions, or one window."""
    windows = _longest_first(windows)
    parts, start = [], 0
    while start < len(windows):
        rows = np.cumsum(windows.lengths[start:])
        end = start + max(1, int(np.searchsorted(rows, max_rows, side="right")))
        parts.append(windows.take(np.arange(start, min(end, len(windows)))))
        start = end
    return parts


def _longest_first(windows: Windows) -> Windows:
    return windows.take(np.argsort(-windows.lengths, kind="stable"))
