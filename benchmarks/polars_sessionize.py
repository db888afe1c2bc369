"""The peer: a sessioniser written by hand for one process and one machine, in polars.

    python -m benchmarks.polars_sessionize --listens=log/listens --output=sessions

It does the work of `beam_pipelines.sessionize` on a canonical Parquet log, with all of it in
memory: duplicates dropped, sessions cut, vocabularies ordered, a row a user with lists of that
user's sessions. What it leaves out: it takes every row for a good one, has one form of input, knows
no ages and no rule for listens that do not say whether they were skipped, keeps any of duplicates,
and writes Parquet without checksums in place of TFRecord.
"""

from pathlib import Path
from typing import Final

import polars as pl

from benchmarks import peer
from cosernn_tf.schema import (
    DEVICES,
    MAX_TRACKS_PER_SESSION,
    SECONDS_PER_DAY,
    SESSION_GAP_SECONDS,
    TEST_DAYS,
    UNKNOWN,
    VALIDATION_DAYS,
)

SESSIONS: Final = "sessions.parquet"
TRACKS: Final = "tracks.parquet"
STREAM_SOURCES: Final = "stream_sources.parquet"

_KEY: Final = ("user", "timestamp", "track")
_KEY_BITS: Final = 64
_MAX_STREAM_SOURCES: Final = 100
_FIRST_WEEKDAY: Final = 3
"""1 January 1970 was a Thursday."""


def sessionize(listens: Path, output: Path) -> None:
    """Writes the sessions of the log in the directory `listens`, and its vocabularies."""
    log = _read(listens)
    num_read = log.height
    user_id, log = _recoded(log, "user")
    track_id, log = _recoded(log, "track")
    log = _in_order(log, num_users=len(user_id), num_tracks=len(track_id))
    log = log.filter(pl.any_horizontal(_differs(name) for name in _KEY))
    log = _cut(log)
    first = log.with_row_index("start").filter("is_first")
    log = log.with_columns(training=_in_training(first, log).gather(log["session"]))

    tracks = _counted(log, "track").sort(["train_listens", "track"], descending=[True, False])
    tracks.select(
        track_id=track_id.gather(tracks["track"]), train_listens="train_listens"
    ).write_parquet(output / TRACKS)
    sources = _stream_sources(_counted(log, "stream_source"))
    pl.DataFrame({"stream_source": sources}).write_parquet(output / STREAM_SOURCES)

    row_of_track = tracks.with_row_index("row").sort("track")["row"]
    kept = log.filter(pl.col("place") < MAX_TRACKS_PER_SESSION)
    kept = kept.with_columns(track=row_of_track.gather(kept["track"])).set_sorted("session")
    lists = kept.group_by("session", maintain_order=True).agg("track", "skipped")
    sessions = _features(first, log.height, sources).with_columns(lists.select("track", "skipped"))
    users = sessions.set_sorted("user").group_by("user", maintain_order=True).agg(pl.all())
    users = users.select(
        pl.lit(user_id).gather(pl.col("user")).alias("user_id"), pl.exclude("user")
    )
    users.write_parquet(output / SESSIONS)
    counts = {
        "read": num_read,
        "kept": log.height,
        "users": users.height,
        "sessions": sessions.height,
    }
    peer.write_counts(output, counts)


def _read(listens: Path) -> pl.DataFrame:
    """The log's columns, ids as categories, devices as rows of `schema.DEVICES`."""
    device = pl.col("device").fill_null(UNKNOWN).str.to_lowercase()
    columns = (
        pl.col("user_id").cast(pl.Categorical(pl.Categories("users"))).alias("user"),
        pl.col("track_id").cast(pl.Categorical(pl.Categories("tracks"))).alias("track"),
        pl.col("timestamp"),
        pl.col("ms_played").fill_null(0),
        pl.col("skipped").cast(pl.Int8),
        device.replace_strict(
            DEVICES, range(len(DEVICES)), default=DEVICES.index("other"), return_dtype=pl.Int8
        ),
        pl.col("stream_source").cast(pl.Categorical(pl.Categories("stream_sources"))),
        pl.col("utc_offset_minutes").fill_null(0),
    )
    return pl.scan_parquet(listens / "*.parquet").select(columns).collect(engine="streaming")


def _recoded(log: pl.DataFrame, name: str) -> tuple[pl.Series, pl.DataFrame]:
    """The distinct ids of a column, ascending, and the log with the rows of these as codes."""
    distinct = log[name].unique()
    ids = pl.DataFrame({"id": distinct.cast(pl.String), "category": distinct.to_physical()})
    ids = ids.sort("id").with_row_index("code")
    # Categories are numbered from 0 as they are met.
    code_of_category = ids.sort("category")["code"]
    return ids["id"], log.with_columns(code_of_category.gather(log[name].to_physical()).alias(name))


def _in_order(log: pl.DataFrame, *, num_users: int, num_tracks: int) -> pl.DataFrame:
    """The listens by user, time and track."""
    first = log["timestamp"].min()
    since_first = log["timestamp"] - first
    track_bits, time_bits = num_tracks.bit_length(), _largest(since_first).bit_length()
    if num_users.bit_length() + time_bits + track_bits > _KEY_BITS:
        return log.sort(_KEY)
    # One key a listen sorts several times faster than three.
    time = since_first.cast(pl.UInt64) * 2**track_bits
    return log.sort(
        log["user"].cast(pl.UInt64) * 2 ** (time_bits + track_bits) + time + log["track"]
    )


def _differs(name: str) -> pl.Expr:
    """Whether a row has another value than the row before; true for the first."""
    return pl.col(name).ne_missing(pl.col(name).shift())


def _cut(log: pl.DataFrame) -> pl.DataFrame:
    """Adds what a listen is in its user's sessions.

    `gap` is its seconds since the end of the listen before, `session` the number of its session,
    `place` its place therein; it `is_new` if it is its user's first, `is_first` if its session's.
    """
    end = pl.col("timestamp") + pl.col("ms_played") // 1_000
    log = log.with_columns(gap=pl.col("timestamp") - end.shift(), is_new=_differs("user"))
    log = log.with_columns(is_first=pl.col("is_new") | (pl.col("gap") >= SESSION_GAP_SECONDS))
    log = log.with_columns(session=pl.col("is_first").cum_sum() - 1)
    start = log["is_first"].arg_true().gather(log["session"])
    return log.with_columns(place=pl.int_range(pl.len()) - start)


def _in_training(first: pl.DataFrame, log: pl.DataFrame) -> pl.Series:
    """Whether each session, of which `first` has the first listen, starts in the training split."""
    test_start = _largest(log["timestamp"]) - TEST_DAYS * SECONDS_PER_DAY
    return first["timestamp"] < test_start - VALIDATION_DAYS * SECONDS_PER_DAY


def _counted(log: pl.DataFrame, name: str) -> pl.DataFrame:
    """The distinct values of a column, with the `train_listens` of each."""
    counts = log.lazy().group_by(name).agg(train_listens=pl.col("training").cast(pl.Int64).sum())
    return counts.collect(engine="streaming")


def _stream_sources(counted: pl.DataFrame) -> list[str]:
    """The sources that occur in training, most listens first; before them `unknown`."""
    named = counted.with_columns(pl.col("stream_source").cast(pl.String)).filter(
        pl.col("train_listens") > 0, pl.col("stream_source") != UNKNOWN
    )
    named = named.sort(["train_listens", "stream_source"], descending=[True, False])
    return [UNKNOWN, *named["stream_source"].head(_MAX_STREAM_SOURCES)]


def _features(first: pl.DataFrame, num_listens: int, sources: list[str]) -> pl.DataFrame:
    """The features of each session, but its tracks, and its user."""
    local = pl.col("timestamp") + 60 * pl.col("utc_offset_minutes").cast(pl.Int64)
    return first.select(
        pl.col("user"),
        session_start=pl.col("timestamp"),
        day_of_week=((local // SECONDS_PER_DAY + _FIRST_WEEKDAY) % 7).cast(pl.Int8),
        hour=(local % SECONDS_PER_DAY // 3_600).cast(pl.Int8),
        device=pl.col("device"),
        stream_source=pl.col("stream_source")
        .cast(pl.String)
        .replace_strict(sources, range(len(sources)), default=0, return_dtype=pl.Int32),
        num_tracks=pl.col("start").shift(-1).fill_null(num_listens) - pl.col("start"),
        seconds_since_last=pl.when("is_new").then(0).otherwise("gap"),
    )


def _largest(values: pl.Series) -> int:
    largest = values.max()
    assert isinstance(largest, int)
    return largest


if __name__ == "__main__":
    peer.run(sessionize, description=__doc__)
