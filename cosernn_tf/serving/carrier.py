"""Carries users' records over sessions: the one place where the step model meets them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from cosernn_tf.features import SessionEmbeddings, embed_sessions
from cosernn_tf.models.stepping import SESSIONS
from cosernn_tf.schema import MODEL_INPUTS
from cosernn_tf.serving import user_state
from cosernn_tf.serving.step_model import Outputs, StepModel
from cosernn_tf.table import SessionTable

USERS_AT_ONCE: Final = 2_048
"""Bounds memory, whatever a model carries: Encore 170 KB a user."""


@dataclass(frozen=True)
class Starts:
    """How n sessions start, one of each user: (n,) each."""

    day_of_week: np.ndarray
    hour: np.ndarray
    device: np.ndarray
    stream_source: np.ndarray
    """Row of the vocabulary."""
    seconds_since_last: np.ndarray
    """0 for a user's first."""

    def take(self, rows: Any) -> "Starts":
        return Starts(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Contents:
    """What became of n sessions, one of each user."""

    embeddings: SessionEmbeddings
    num_tracks: np.ndarray
    stream_source: np.ndarray
    end: np.ndarray
    """UTC seconds."""
    earliest: np.ndarray
    """UTC seconds at which a next session can start."""

    def take(self, rows: Any) -> "Contents":
        own = self.embeddings
        return Contents(
            SessionEmbeddings(own.all[rows], own.played[rows], own.skipped[rows]),
            *(getattr(self, name)[rows] for name in _OF_CONTENTS),
        )


_OF_CONTENTS: Final = ("num_tracks", "stream_source", "end", "earliest")

State = Mapping[str, np.ndarray]
"""Of the model, after a session: a part by name, (n, ...) each."""


class Carrier:
    """Steps a model over sessions of users' records."""

    def __init__(self, model: StepModel) -> None:
        self.model = model
        self.dtype = user_state.record_type(model.state)
        """Of a record."""

    def new(self, users: int) -> np.ndarray:
        """(users,) records without a past."""
        return np.zeros(users, self.dtype)

    def predict(self, records: np.ndarray, users: np.ndarray, starts: Starts) -> Outputs:
        """Of the next session of each; the records stay as they are.

        Args:
            records: (n,) of the users.
            users: (n,) object: ids, bytes.
            starts: Of the sessions.
        """
        parts = [
            self.model.predict(*self._called(records[rows], users[rows], starts.take(rows)))
            for rows in _blocks(len(records))
        ]
        attention = [part.attention for part in parts if part.attention is not None]
        return Outputs(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate(attention) if attention else None,
        )

    def stepped(self, records: np.ndarray, users: np.ndarray, starts: Starts) -> State:
        """The state of the model after the next session of each, as `predict` takes them."""
        parts = [
            self.model(*self._called(records[rows], users[rows], starts.take(rows)))[1]
            for rows in _blocks(len(records))
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.model.state}

    def state_in(self, records: np.ndarray) -> State:
        """The state of the model in (n,) records: views of them."""
        return {name: records[name] for name in self.model.state}

    def close(self, records: np.ndarray, state: State, contents: Contents) -> None:
        """Carries records over that session, in place.

        Args:
            records: (n,) before it.
            state: As `stepped` gave it.
            contents: Of the sessions.
        """
        for name in self.model.state:
            records[name] = state[name]
        own = contents.embeddings
        records["last_all"], records["last_played"] = own.all, own.played
        records["last_skipped"] = own.skipped
        records["last_num_tracks"] = contents.num_tracks
        records["last_stream_source"] = contents.stream_source
        records["end"], records["earliest"] = contents.end, contents.earliest
        # Eq. 1: the weight of a session is its number, from 1.
        records["sum"] += records[SESSIONS][:, None].astype(np.float64) * own.all

    def _called(
        self, records: np.ndarray, users: np.ndarray, starts: Starts
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs and state."""
        wanted = self.model.inputs
        inputs: dict[str, np.ndarray] = {}
        for spec in MODEL_INPUTS:
            if spec.name not in wanted:
                continue
            if spec.name == "user_id":
                inputs[spec.name] = users
                continue
            if spec.name == "long_term":
                values = user_state.long_term(records)
            elif spec.name == "current_stream_source":
                values = starts.stream_source
            elif spec.name in (self.dtype.names or ()):  # of the last session, or of the user
                values = records[spec.name]
            else:
                values = getattr(starts, spec.name)
            inputs[spec.name] = np.ascontiguousarray(values, spec.dtype)
        return inputs, dict(self.state_in(records))


def _blocks(length: int) -> list[slice]:
    """One at least, so that the shapes of nothing are known, too."""
    return [
        slice(start, min(start + USERS_AT_ONCE, length))
        for start in range(0, max(length, 1), USERS_AT_ONCE)
    ]


def embedded(table: SessionTable, vectors: np.ndarray) -> SessionEmbeddings:
    """`embed_sessions` of a few sessions of a large catalogue, of which it would make a copy.

    Args:
        table: S sessions.
        vectors: (tracks, dim) float32, of the track vocabulary.
    """
    rows, codes = np.unique(table.track, return_inverse=True)
    known = rows >= 0
    own = np.where(known[:, None], vectors[np.where(known, rows, 0)], np.float32(0))
    return embed_sessions(dataclasses.replace(table, track=codes.reshape(table.track.shape)), own)
