"""The feed of training batches: shards in blocks, windows shuffled within a block."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np

from cosernn_tf.dataset import read_shard, read_shards
from cosernn_tf.features import embed_sessions, previous
from cosernn_tf.models.data_spec import DataSpec, LogStatistics
from cosernn_tf.schema import USER_UNKNOWN
from cosernn_tf.table import SessionTable, concatenate, in_blocks
from cosernn_tf.training.sharing import ALL, Share
from cosernn_tf.windows import (
    PackedBatch,
    SequenceData,
    Windows,
    evaluation_windows,
    pack_batch,
    sequence_data,
    split_by_rows,
    training_windows,
)
from cosernn_tf.workspace import SessionsDirectory

SESSIONS_PER_BLOCK: Final = 300_000
"""Sessions held in memory at once, about 1 KB each: what bounds the memory of training."""

USER_DROPOUT: Final = 0.1
"""Share of the users whom training takes for unknown ones, others in every epoch."""

_USER_ID: Final = "user_id"

ROWS_PER_PART: Final = 2**14
"""Sessions of a batch whose gradient is computed at once: with 400 cells a GB of activations."""


@dataclass(frozen=True)
class Block:
    """Some users, ready to be cut into batches."""

    table: SessionTable
    data: SequenceData


class Feed:
    """Blocks and batches of a directory of session sequences."""

    def __init__(
        self,
        sessions: SessionsDirectory,
        track_embeddings: np.ndarray,
        *,
        inputs: Collection[str] | None = None,
        sessions_per_block: int = SESSIONS_PER_BLOCK,
        share: Share = ALL,
    ) -> None:
        """Reads nothing yet.

        Args:
            sessions: Where from.
            track_embeddings: (tracks, dim) float32.
            inputs: Names of those of `schema.MODEL_INPUTS` that are wanted; None: all.
            sessions_per_block: Sessions held at once.
            share: The replicas for which batches are made.
        """
        self.sessions = sessions
        self.track_embeddings = track_embeddings
        self._inputs = inputs
        self._sessions_per_block = sessions_per_block
        self._share = share

    def blocks(self) -> Iterator[Block]:
        """All users in blocks, in the manifest's order."""
        if self._fits:
            yield self._only_block
        else:
            yield from self._blocks_of(read_shards(self.sessions))

    def _training_blocks(self, order: np.ndarray | None = None) -> Iterator[Block]:
        """Like `blocks`, of the training split; later sessions do not even decide who is in which.

        Args:
            order: Of all shards of the manifest; None: as they are.
        """
        if self._fits:
            yield self._only_block
            return
        shards = self.sessions.manifest.shards
        before = self.sessions.manifest.split.validation_start
        yield from self._blocks_of(
            read_shard(self.sessions, shards[row]).starting_before(before)
            for row in (range(len(shards)) if order is None else order)
            if shards[row].users
        )

    def _blocks_of(self, tables: Iterable[SessionTable]) -> Iterator[Block]:
        return map(self._block, in_blocks(tables, max_sessions=self._sessions_per_block))

    @property
    def _fits(self) -> bool:
        sessions = sum(shard.sessions for shard in self.sessions.manifest.shards)
        return sessions <= self._sessions_per_block

    @cached_property
    def _only_block(self) -> Block:
        """Kept where everything fits, so that an epoch reads no file."""
        return self._block(concatenate(list(read_shards(self.sessions))))

    def _block(self, table: SessionTable) -> Block:
        embeddings = embed_sessions(table, self.track_embeddings)
        return Block(table, sequence_data(table, embeddings, self._inputs))

    def training_batches(
        self, *, epoch: int, batch_size: int, max_sessions: int, seed: int, skip: int = 0
    ) -> Iterator[list[PackedBatch]]:
        """Batches of `batch_size` windows of the training split, each in one or more parts.

        Of several replicas each has parts of its own, and they come in turn (`Share.parts`).

        The order depends on (seed, epoch) and the training split only, so that a resumed run sees
        what an uninterrupted one would have. The first `skip` are left out without being made.
        """
        random, forgetting = (np.random.default_rng([seed, epoch, *of]) for of in ((), (1,)))
        before = self.sessions.manifest.split.validation_start
        order = random.permutation(len(self.sessions.manifest.shards))
        is_one_block = self._training_split.sessions <= self._sessions_per_block
        for block in self._training_blocks(None if is_one_block else order):
            windows = training_windows(block.table, before=before, max_sessions=max_sessions)
            data = _with_unknown_users(block.data, np.unique(windows.user), forgetting)
            windows = windows.take(random.permutation(len(windows)))
            starts = range(0, len(windows), batch_size)
            skipped = min(skip, len(starts))
            skip -= skipped
            for start in starts[skipped:]:
                rows = np.arange(start, min(start + batch_size, len(windows)))
                parts = self._share.parts(windows.take(rows), _parts)
                yield [pack_batch(data, part) for part in parts]

    def validation_windows(self, block: Block, *, max_sessions: int) -> Windows:
        """Windows of `block` whose targets are the sessions of the validation split."""
        split = self.sessions.manifest.split
        return evaluation_windows(
            block.table,
            first=split.validation_start,
            before=split.test_start,
            max_sessions=max_sessions,
        )

    def data_spec(self) -> DataSpec:
        """Vocabulary sizes and statistics of the training split."""
        return DataSpec(
            num_stream_sources=len(self.sessions.stream_sources),
            last_num_tracks=_statistics(self._training_split.last_num_tracks),
            seconds_since_last=_statistics(self._training_split.seconds_since_last),
            users=tuple(sorted(self._training_split.users)),
        )

    @property
    def training_pairs(self) -> int:
        """Sessions of the training split that have an s⁺."""
        return self._training_split.pairs

    @cached_property
    def _training_split(self) -> "_TrainingSplit":
        sessions, pairs, counts, gaps = 0, 0, np.zeros(3), np.zeros(3)
        users: list[str] = []
        before = self.sessions.manifest.split.validation_start
        for block in self._training_blocks():
            table = block.table
            training = table.session_start < before
            is_pair = training & block.data.is_target
            sessions += int(np.count_nonzero(training))
            pairs += int(np.count_nonzero(is_pair))
            # The inputs of a user's first session are no observations but zeros.
            observed = training & (table.position > 0)
            counts += _moments(previous(table.num_tracks, table.row_splits)[observed])
            gaps += _moments(table.seconds_since_last[observed])
            if _USER_ID in block.data.inputs:
                users += (
                    table.user_id[row].decode() for row in np.unique(table.user_of_session[is_pair])
                )
        return _TrainingSplit(sessions, pairs, counts, gaps, users)


@dataclass(frozen=True)
class _TrainingSplit:
    """Sessions and pairs of the training split, and moments of inputs (see `_moments`)."""

    sessions: int
    pairs: int
    last_num_tracks: np.ndarray
    seconds_since_last: np.ndarray
    users: list[str]
    """Who have a pair, if a model asks who they are."""


def _with_unknown_users(
    data: SequenceData, users: np.ndarray, random: np.random.Generator
) -> SequenceData:
    """The data with a share of `users` (rows) made unknown, if the model asks who they are.

    So it learns what to say of users whom it does not know, and rests on their static embeddings
    only in part.
    """
    if _USER_ID not in data.inputs:
        return data
    ids = data.inputs[_USER_ID].copy()
    ids[users[random.random(len(users)) < USER_DROPOUT]] = USER_UNKNOWN
    return replace(data, inputs={**data.inputs, _USER_ID: ids})


def _parts(windows: Windows) -> list[Windows]:
    return split_by_rows(windows, max_rows=ROWS_PER_PART)


def _moments(values: np.ndarray) -> np.ndarray:
    """Count, sum and sum of squares of log1p(values)."""
    # By way of the precision that models see them in.
    logs = np.log1p(values.astype(np.float32).astype(np.float64))
    return np.array([len(logs), logs.sum(), np.square(logs).sum()])


def _statistics(moments: np.ndarray) -> LogStatistics:
    count, total, squares = moments
    if count == 0:
        return LogStatistics(mean=0.0, deviation=1.0)
    mean = total / count
    variance = max(squares / count - mean**2, 0.0)
    # A constant feature carries nothing; any deviation but zero will do.
    return LogStatistics(mean=float(mean), deviation=float(np.sqrt(variance)) or 1.0)
