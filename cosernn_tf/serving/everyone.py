"""Recommendations for every user of the log, as a Parquet file."""

import contextlib
import fcntl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging
from tqdm import tqdm

from cosernn_tf.config import require
from cosernn_tf.dataset import read_shards
from cosernn_tf.errors import UserError
from cosernn_tf.models.stepping import SESSIONS
from cosernn_tf.serving.generation import generation_of
from cosernn_tf.serving.listens import Context
from cosernn_tf.serving.logged import in_parts
from cosernn_tf.serving.recommender import Recommender
from cosernn_tf.staging import DISK_TROUBLES
from cosernn_tf.table import SessionTable, in_blocks

SCHEMA: Final = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("at", pa.string(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("stream_source", pa.string()),
        pa.field("earlier_sessions", pa.int32(), nullable=False),
        pa.field("tracks", pa.list_(pa.field("item", pa.string(), nullable=False)), nullable=False),
        pa.field(
            "scores", pa.list_(pa.field("item", pa.float32(), nullable=False)), nullable=False
        ),
    ]
)
"""A row for each user and context, by user; `scores` are the tracks' cosines, the best first."""

_SESSIONS_PER_BLOCK: Final = 200_000
_TRACKS_PER_GROUP: Final = 2_000_000
"""In a row group: bounds memory, whatever the contexts and k."""


@dataclass(frozen=True)
class Written:
    """What a job did."""

    users: int
    rows: int
    seconds: float


def recommend_all(
    recommender: Recommender, contexts: Sequence[Context], output: Path, *, k: int
) -> Written:
    """Writes k tracks for every user of the log in each context.

    Each answer is that of `Recommender.recommend_from_log`: it rests on the sessions that started
    before. Memory does not grow with the number of users.

    Args:
        recommender: Of the run; what it has observed has no say.
        contexts: One or more.
        output: Parquet file of `SCHEMA`, replaced whole at the end. Its metadata say which run.
        k: Number of tracks.

    Raises:
        UserError: A context or k that the run cannot answer, or a file that cannot be written.
    """
    require(bool(contexts), "there is no context to recommend in")
    for context in contexts:
        recommender.check_context(context, k)
    sessions = recommender.run.sessions
    total = sum(shard.users for shard in sessions.manifest.shards)
    started = time.monotonic()
    schema = SCHEMA.with_metadata(
        {
            "run": recommender.run.path.name,
            "generation": generation_of(recommender.run),
            "k": str(k),
        }
    )
    users = max(1, _TRACKS_PER_GROUP // (len(contexts) * k))
    with (
        _replacing(output) as path,
        pq.ParquetWriter(path, schema, compression="zstd") as writer,
        tqdm(total=total, desc="recommend", unit="user") as bar,
    ):
        for table in in_blocks(read_shards(sessions), max_sessions=_SESSIONS_PER_BLOCK):
            for part in in_parts(table, at_most=users):
                rows = _rows(recommender, part, contexts, k=k)
                writer.write_table(rows.cast(schema), row_group_size=max(1, rows.num_rows))
                bar.update(part.num_users)
    written = Written(total, total * len(contexts), time.monotonic() - started)
    logging.info(
        "%s: %s users in %d contexts, %s rows in %.1f s (%s users/s, %s recommendations/s)",
        output,
        f"{written.users:,}",
        len(contexts),
        f"{written.rows:,}",
        written.seconds,
        f"{written.users / written.seconds:,.0f}",
        f"{written.rows / written.seconds:,.0f}",
    )
    return written


def _rows(
    recommender: Recommender, table: SessionTable, contexts: Sequence[Context], *, k: int
) -> pa.Table:
    """Of the users of a table."""
    shape = (table.num_users, len(contexts))
    earlier = np.empty(shape, np.int32)
    rows, scores = np.empty((*shape, k), np.int64), np.empty((*shape, k), np.float32)
    for number, answers in recommender.from_log(table, contexts):
        found = recommender.index.search(answers.embeddings, k)
        rows[:, number], scores[:, number] = found.rows, found.scores
        earlier[:, number] = answers.records[SESSIONS]
    splits = pa.array(np.arange(earlier.size + 1, dtype=np.int32) * k)
    tracks = recommender.track_ids.take(pa.array(rows.ravel()))
    user_id = pa.array(table.user_id.tolist(), pa.binary()).cast(pa.string())
    of_user = pa.array(np.repeat(np.arange(shape[0]), shape[1]))
    of_context = pa.array(np.tile(np.arange(shape[1]), shape[0]))
    sources = pa.array([context.stream_source for context in contexts], pa.string())
    columns = {
        "user_id": user_id.take(of_user),
        "at": pa.array([c.at.isoformat() for c in contexts]).take(of_context),
        "device": pa.array([c.device for c in contexts]).take(of_context),
        "stream_source": sources.take(of_context),
        "earlier_sessions": pa.array(earlier.ravel()),
        "tracks": pa.ListArray.from_arrays(splits, tracks),
        "scores": pa.ListArray.from_arrays(splits, pa.array(scores.ravel())),
    }
    return pa.table([columns[name] for name in SCHEMA.names], names=SCHEMA.names)


@contextlib.contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A file beside `output` that takes its place at the end, and is gone if the block raises.

    What a killed process has left there is written over by the next.
    """
    path = output.with_name(f".{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        require(not output.is_dir(), f"--output={output} is a directory: give a file")
        with path.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process writes {output}: wait for it") from error
            try:
                yield path
                path.replace(output)
            finally:
                path.unlink(missing_ok=True)
    except OSError as error:
        reason = DISK_TROUBLES.get(error.errno or 0, error.strerror or str(error))
        raise UserError(
            f"{output} could not be written: {reason}; what was there is as it was"
        ) from error
