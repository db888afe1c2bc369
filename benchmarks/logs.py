"""Listening logs to measure with: any number of listens, shuffled over files, in bounded memory.

They have the load of a real log (opaque string ids, few users and tracks with most listens, re-sent
rows, starts in the same second) and none of its habits: nothing can be learnt from them. For a log
with habits there is `beam_pipelines.synthesize`.

A log is made in two passes, so that memory holds neither it nor a file of it: blocks of users are
drawn and their rows scattered at random over buckets on disk; then each bucket is shuffled and
becomes a row group. Any row so has an equal chance to stand anywhere.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from cosernn_tf.config import canonical_json, require
from cosernn_tf.schema import LISTEN_SCHEMA, SECONDS_PER_DAY, SESSION_GAP_SECONDS
from cosernn_tf.staging import staged

LISTENS: Final = "listens"
SUMMARY: Final = "log.json"

ROWS_PER_ROW_GROUP: Final = 500_000
"""At most; row groups have a tenth less on average, as buckets are filled by chance."""
_ROWS_PER_BLOCK: Final = 1_000_000

_FIRST_SECOND: Final = 1_554_076_800
"""1 April 2019, 00:00 UTC."""
_DAYS: Final = 61
_LAST_SECOND: Final = _FIRST_SECOND + _DAYS * SECONDS_PER_DAY

_LISTENS_PER_USER: Final = 500
_USER_SHAPE: Final = 1.3
"""Of the Pareto distribution of listens a user: a tenth of the users has 60 % of the listens."""
_MOST_OVER_MEAN: Final = 20
"""Times the mean, as it would be without this bound: more would not fit into the days."""
_TRACKS_AT_TEN_MILLION: Final = 500_000
_TRACK_POWER: Final = 3
"""The track of rank r has a share in proportion to r ** -2/3: the first 1.3 % of 500,000."""

_SHARE_OF_ONE_USER: Final = 0.3
_MOST_WITH_ONE_USER: Final = 30_000_000
"""Listens in a log: with more, that user would begin before 1970."""
_SHARE_OF_ONE_TRACK: Final = 1 / 3
_LISTENS_AT_ONCE: Final = 10_000
"""Of the one user, who is drawn in stretches of time."""
_LONGEST_PLAY: Final = 300
_LONGEST_PLAY_OF_ONE_USER: Final = 10
_SECONDS_A_LISTEN_OF_ONE_USER: Final = 140
"""Somewhat more than listens, pauses and breaks take, so that all fit."""

_BREAKS: Final = 0.1
_EXACT_BREAKS: Final = 0.01
_DUPLICATES: Final = 0.005
_UNHEARD: Final = 0.02
_SKIPPED: Final = 0.3
"""Shares: of listens before which there is a break, of breaks that are as short as a break can be,
of listens that repeat the row before, that were played for no second, that were skipped."""

_DEVICES: Final = {
    "mobile": 0.87,
    "desktop": 0.085,
    "speaker": 0.015,
    "web": 0.01,
    "tablet": 0.01,
    "car": 0.01,
}
_SOURCES: Final = {
    "user_playlist": 0.4,
    "album": 0.2,
    "radio": 0.15,
    "charts": 0.13,
    "search": 0.1,
    None: 0.02,
}
_OFFSETS: Final = (-300, 0, 60, 120, 330)

_LETTERS: Final = np.frombuffer(
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", np.uint8
)
_ID_LENGTH: Final = 22

_ROW: Final = np.dtype(
    [
        ("user", np.int32),
        ("track", np.int32),
        ("timestamp", np.int64),
        ("ms_played", np.int32),
        ("skipped", np.bool_),
        ("device", np.int8),
        ("stream_source", np.int8),
    ]
)


class Skew(StrEnum):
    """What weighs more in a log than it should."""

    BALANCED = "balanced"
    """Nothing: no user has more than 30 times the mean."""
    ONE_USER = "one_user"
    """One user has 30 % of all listens, in sessions like everybody's. So many sessions take years,
    and begin so much before the others'."""
    ONE_TRACK = "one_track"
    """A third of all listens are of one track."""


@dataclass(frozen=True)
class LogConfig:
    """A log to make; equal ones have equal rows in equal order.

    Raises:
        UserError: A value is out of its range.
    """

    num_listens: int
    skew: Skew = Skew.BALANCED
    num_files: int = 8
    seed: int = 11

    def __post_init__(self) -> None:
        is_one_user = self.skew is Skew.ONE_USER
        for flag, lowest, highest in (
            ("num_listens", 1, _MOST_WITH_ONE_USER if is_one_user else 10**10),
            ("num_files", 1, 10_000),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, flag)
            require(
                lowest <= value <= highest,
                f"--{flag}={value} must be from {lowest} to {highest:,} with --skew={self.skew}",
            )

    @property
    def num_users(self) -> int:
        """One per 500 listens: 20,000 in 10 million."""
        return max(2, self.num_listens // _LISTENS_PER_USER)

    @property
    def num_tracks(self) -> int:
        """Of the catalogue, in proportion to the square root of the log: 500,000 at 10 million."""
        return max(2, round(_TRACKS_AT_TEN_MILLION * (self.num_listens / 10**7) ** 0.5))

    @property
    def num_buckets(self) -> int:
        """A multiple of the files."""
        rows = 0.9 * ROWS_PER_ROW_GROUP * self.num_files
        return self.num_files * (1 + int(self.num_listens / rows))

    def generator(self, *key: int) -> np.random.Generator:
        """Random numbers of one part, independent of every other part's."""
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))


_IDS, _USERS, _BLOCKS, _BUCKETS = range(4)
"""First of the keys of generators."""


@dataclass(frozen=True)
class _Stretches:
    """Listens of one user in a stretch of time, n of them; fields are (n,) int64."""

    user: np.ndarray
    listens: np.ndarray
    start: np.ndarray
    """UTC seconds."""
    seconds: np.ndarray
    longest_play: np.ndarray
    """Seconds."""

    def __getitem__(self, part: slice | np.ndarray) -> "_Stretches":
        return _Stretches(*(getattr(self, field.name)[part] for field in fields(self)))


def write_log(config: LogConfig, directory: Path) -> None:
    """Writes `listens/*.parquet` and `log.json`; a log of the same options is left as it is."""
    summary = canonical_json({**dataclasses.asdict(config), "num_users": config.num_users})
    if (directory / SUMMARY).is_file() and (directory / SUMMARY).read_text() == summary:
        logging.info("%s is there already", directory)
        return
    with staged(directory, marker=SUMMARY) as staging:
        scattered = staging / "scattered"
        scattered.mkdir()
        _scatter(config, scattered)
        (staging / LISTENS).mkdir()
        for number in range(config.num_files):
            _write_file(config, number, scattered, staging / LISTENS)
        shutil.rmtree(scattered)
        (staging / SUMMARY).write_text(summary)


# Drawing listens ---------------------------------------------------------------------------------


def _scatter(config: LogConfig, directory: Path) -> None:
    """Appends every listen to a bucket, a file of `_ROW`s, drawn at random."""
    done = 0
    for number, stretches in enumerate(_blocks(_stretches(config))):
        rng = config.generator(_BLOCKS, number)
        rows = _draw(config, stretches, rng)
        bucket = rng.integers(0, config.num_buckets, len(rows))
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=config.num_buckets))
        for name, part in enumerate(np.split(rows[order], ends[:-1])):
            with (directory / str(name)).open("ab") as file:
                part.tofile(file)
        done += len(rows)
        logging.log_every_n_seconds(
            logging.INFO, "Drew %s of %s listens", 5, f"{done:,}", f"{config.num_listens:,}"
        )


def _stretches(config: LogConfig) -> _Stretches:
    """Who listens how often, and when: all users in order, the one user in many stretches."""
    rng = config.generator(_USERS)
    weights = rng.pareto(_USER_SHAPE, config.num_users) + 0.2
    weights = np.minimum(weights, _MOST_OVER_MEAN * weights.mean())
    one_user = 0
    if config.skew is Skew.ONE_USER:
        weights[0] = 0
        one_user = int(_SHARE_OF_ONE_USER * config.num_listens)
    # Rounded where they add up, so that there are neither too few nor too many.
    ends = np.floor(np.cumsum(weights) / weights.sum() * (config.num_listens - one_user) + 1e-6)
    listens = np.diff(ends.astype(np.int64), prepend=0)
    count = len(listens)
    everybody = _Stretches(
        user=np.arange(count),
        listens=listens,
        start=np.full(count, _FIRST_SECOND),
        seconds=np.full(count, _LAST_SECOND - _FIRST_SECOND),
        longest_play=np.full(count, _LONGEST_PLAY),
    )
    stretches = _joined(_stretches_of_one_user(one_user), everybody)
    return stretches[stretches.listens > 0]


def _stretches_of_one_user(num_listens: int) -> _Stretches:
    """One after another, the last at the end of the log."""
    listens = np.diff(np.arange(0, num_listens, _LISTENS_AT_ONCE), append=num_listens)
    seconds = listens * _SECONDS_A_LISTEN_OF_ONE_USER
    return _Stretches(
        user=np.zeros(len(listens), np.int64),
        listens=listens,
        start=_LAST_SECOND - np.cumsum(seconds),
        seconds=seconds,
        longest_play=np.full(len(listens), _LONGEST_PLAY_OF_ONE_USER),
    )


def _joined(*parts: _Stretches) -> _Stretches:
    return _Stretches(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(_Stretches)
        )
    )


def _blocks(stretches: _Stretches) -> Iterator[_Stretches]:
    """Consecutive stretches with some `_ROWS_PER_BLOCK` listens together."""
    block = np.cumsum(stretches.listens) // _ROWS_PER_BLOCK
    (starts,) = np.nonzero(np.diff(block, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(block)], strict=True):
        yield stretches[start:end]


def _draw(config: LogConfig, stretches: _Stretches, rng: np.random.Generator) -> np.ndarray:
    """(n,) `_ROW`s: the listens of the stretches, in order."""
    stretch = np.repeat(np.arange(len(stretches.listens)), stretches.listens)
    count = len(stretch)
    is_first = np.diff(stretch, prepend=-1) != 0
    played = rng.integers(0, stretches.longest_play[stretch])
    played[rng.random(count) < _UNHEARD] = 0
    rows = np.empty(count, _ROW)
    rows["user"] = stretches.user[stretch]
    rows["track"] = config.num_tracks * rng.random(count) ** _TRACK_POWER
    if config.skew is Skew.ONE_TRACK:
        rows["track"][rng.random(count) < _SHARE_OF_ONE_TRACK] = 0
    rows["timestamp"] = _times(stretches, is_first, played, rng)
    rows["ms_played"] = 1_000 * played + rng.integers(0, 1_000, count)
    rows["skipped"] = rng.random(count) < _SKIPPED
    rows["device"] = rng.choice(len(_DEVICES), count, p=list(_DEVICES.values()))
    rows["stream_source"] = rng.choice(len(_SOURCES), count, p=list(_SOURCES.values()))
    repeats = np.flatnonzero(~is_first & (rng.random(count) < _DUPLICATES))
    rows[repeats] = rows[repeats - 1]
    return rows


def _times(
    stretches: _Stretches, is_first: np.ndarray, played: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(n,) int64 starts of listens; breaks are as long as leaves the stretches filled."""
    count = len(played)
    (firsts,) = np.nonzero(is_first)
    is_break = ~is_first & (rng.random(count) < _BREAKS)
    # Seconds from the start of the listen before, which may still be playing: players overlap.
    steps = np.roll(played, 1) + rng.integers(-2, 10, count)
    steps[is_break] = np.roll(played, 1)[is_break] + SESSION_GAP_SECONDS
    steps[is_first] = 0
    steps = np.maximum(steps, 0)
    is_longer = is_first | (is_break & (rng.random(count) >= _EXACT_BREAKS))
    longer = np.where(is_longer, rng.exponential(size=count), 0)
    filled = stretches.seconds * rng.uniform(0.95, 1, len(firsts))
    left = np.maximum(filled - np.add.reduceat(steps, firsts), 0)
    scale = left / np.add.reduceat(longer, firsts)
    steps += (longer * np.repeat(scale, stretches.listens)).astype(np.int64)
    since_start = np.cumsum(steps)
    before = since_start[firsts] - steps[firsts]
    return since_start + np.repeat(stretches.start - before, stretches.listens)


# Writing files -----------------------------------------------------------------------------------


def _write_file(config: LogConfig, number: int, scattered: Path, directory: Path) -> None:
    """Writes every `num_files`th bucket, shuffled, as the row groups of a file."""
    path = directory / f"{LISTENS}-{number:05d}-of-{config.num_files:05d}.parquet"
    rng = config.generator(_IDS)
    users = _ids("spotify:user:", config.num_users, rng)
    tracks = _ids("spotify:track:", config.num_tracks, rng)
    offsets = rng.choice(np.array(_OFFSETS, np.int32), config.num_users)
    with pq.ParquetWriter(path, LISTEN_SCHEMA) as writer:
        for bucket in range(number, config.num_buckets, config.num_files):
            rows = np.fromfile(scattered / str(bucket), _ROW)
            config.generator(_BUCKETS, bucket).shuffle(rows)
            columns = {
                "user_id": users.take(pa.array(rows["user"])),
                "track_id": tracks.take(pa.array(rows["track"])),
                "timestamp": rows["timestamp"],
                "ms_played": rows["ms_played"].astype(np.int64),
                "skipped": rows["skipped"],
                "device": pa.array(list(_DEVICES)).take(pa.array(rows["device"])),
                "stream_source": pa.array(list(_SOURCES)).take(pa.array(rows["stream_source"])),
                "utc_offset_minutes": offsets[rows["user"]],
                "track_duration_ms": pa.nulls(len(rows), pa.int64()),
            }
            table = pa.table(columns, schema=LISTEN_SCHEMA)
            writer.write_table(table, row_group_size=ROWS_PER_ROW_GROUP)
            (scattered / str(bucket)).unlink()
    logging.info("Wrote %s", path.name)


def _ids(prefix: str, count: int, rng: np.random.Generator) -> pa.Array:
    """Distinct ids in no order, as catalogues have them: a prefix and 22 letters or digits."""
    text = np.empty((count, len(prefix) + _ID_LENGTH), np.uint8)
    text[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    text[:, len(prefix) :] = _LETTERS[rng.integers(0, len(_LETTERS), (count, _ID_LENGTH))]
    offsets = np.arange(count + 1, dtype=np.int32) * text.shape[1]
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))
