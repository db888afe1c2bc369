"""The vocabulary of the project: the tables of listens, of session features and of model inputs.

Writer, reader, Keras inputs and WORKSPACE.md derive from the tables in this module; no other place
lists feature names. It needs neither TensorFlow nor Beam.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import pyarrow as pa

SCHEMA_VERSION: Final = 1

EMBEDDING_DIM: Final = 40
"""Dimension of track, session and user embeddings (§3.2)."""

MAX_TRACKS_PER_SESSION: Final = 10
"""Tracks kept of a session, its first ones (§3.3)."""

SESSION_GAP_SECONDS: Final = 20 * 60
"""Inactivity that separates two sessions (§3)."""

SECONDS_PER_DAY: Final = 86_400
VALIDATION_DAYS: Final = 5
TEST_DAYS: Final = 14
"""Lengths of the validation and test splits (§5.2)."""

TRACK_PADDING: Final = -1
TRACK_CUT: Final = -2
"""Track of the log that `--min_track_listens` cut from the vocabulary."""
SKIPPED_PADDING: Final = -1
AGE_UNKNOWN: Final = -1
USER_UNKNOWN: Final = b"\xff"
"""A `user_id` that no user can have, as it is no UTF-8."""

UNKNOWN: Final = "unknown"
"""Row 0 of the device and stream-source vocabularies."""
DEVICES: Final = (UNKNOWN, "mobile", "desktop", "speaker", "web", "tablet", "other")

PERIODS: Final = ("night", "early morning", "morning", "afternoon", "evening", "late evening")
_PERIOD_STARTS = (1, 6, 9, 12, 17, 21)
PERIOD_OF_HOUR: Final = np.array(
    [sum(hour >= start for start in _PERIOD_STARTS) - 1 for hour in range(24)]
) % len(PERIODS)
"""(24,) row of `PERIODS` for each local hour (§4.1; late evening is 21-1)."""

DAYS_OF_WEEK: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS: Final = 24

AGE_BUCKET_STARTS: Final = (0, 18, 25, 30, 35, 45, 55)
"""First age of each bucket; bucket 0 of `age_bucket` is unknown."""
NUM_AGE_BUCKETS: Final = len(AGE_BUCKET_STARTS) + 1


def age_bucket(age: np.ndarray) -> np.ndarray:
    """Rows of the initial-state tables (footnote 5 of §5.1.3): 0 for an unknown (negative) age."""
    return np.searchsorted(np.array(AGE_BUCKET_STARTS), age, side="right").astype(np.int32)


# Listens -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListenColumn:
    """A column of the canonical listening log."""

    name: str
    type: pa.DataType
    nullable: bool
    meaning: str


LISTEN_COLUMNS: Final = (
    ListenColumn("user_id", pa.string(), False, "opaque"),
    ListenColumn("track_id", pa.string(), False, "opaque"),
    ListenColumn(
        "timestamp", pa.int64(), False, "start of the listen, UTC seconds or RFC 3339 text"
    ),
    ListenColumn("ms_played", pa.int64(), True, "how long it was played, milliseconds"),
    ListenColumn("skipped", pa.bool_(), True, "if null, inferred (README, decision 2)"),
    ListenColumn("device", pa.string(), True, "mobile, desktop, speaker, web, tablet, or other"),
    ListenColumn("stream_source", pa.string(), True, "open vocabulary, learnt from the data"),
    ListenColumn("utc_offset_minutes", pa.int32(), True, "for local day and hour; 0 when null"),
    ListenColumn("track_duration_ms", pa.int64(), True, "length of the track, milliseconds"),
)
LISTEN_SCHEMA: Final = pa.schema(
    [pa.field(column.name, column.type, column.nullable) for column in LISTEN_COLUMNS]
)
USER_SCHEMA: Final = pa.schema(
    [pa.field("user_id", pa.string(), nullable=False), pa.field("age", pa.int64())]
)


# Session sequences -------------------------------------------------------------------------------


class Per(Enum):
    """What a feature of a session-sequence record has one value of, and so its shape."""

    USER = "()"
    SESSION = "(T,)"
    TRACK = f"(T, {MAX_TRACKS_PER_SESSION})"


@dataclass(frozen=True)
class SessionFeature:
    """A feature of a record of session sequences (one record a user, T sessions)."""

    name: str
    per: Per
    dtype: type[np.generic]
    meaning: str


SESSION_FEATURES: Final = (
    SessionFeature("user_id", Per.USER, np.bytes_, "the user, as in the log, UTF-8"),
    SessionFeature("user_age", Per.USER, np.int64, "years; -1 unknown"),
    SessionFeature(
        "session_start", Per.SESSION, np.int64, "start of its first listen, UTC seconds"
    ),
    SessionFeature("day_of_week", Per.SESSION, np.int64, "0 = Monday, local"),
    SessionFeature("hour", Per.SESSION, np.int64, "0..23, local"),
    SessionFeature(
        "device", Per.SESSION, np.int64, "of its first listen; row in vocabulary/devices.txt"
    ),
    SessionFeature(
        "stream_source",
        Per.SESSION,
        np.int64,
        "of its first listen; row in vocabulary/stream_sources.txt",
    ),
    SessionFeature(
        "num_tracks",
        Per.SESSION,
        np.int64,
        f"listens in the whole session, before the cut to {MAX_TRACKS_PER_SESSION}",
    ),
    SessionFeature(
        "seconds_since_last",
        Per.SESSION,
        np.int64,
        "start minus the end of the previous session; 0 for the first",
    ),
    SessionFeature(
        "track",
        Per.TRACK,
        np.int64,
        "row in vocabulary/tracks.parquet; -1 padding, -2 cut by --min_track_listens; row-major",
    ),
    SessionFeature("skipped", Per.TRACK, np.int64, "1 skipped, 0 played, -1 padding; row-major"),
)


# Model inputs ------------------------------------------------------------------------------------

FEATURES: Final = (
    "last_session",
    "context",
    "num_tracks",
    "gap",
    "stream_source",
    "current_stream_source",
)
"""What `--features` takes in or leaves out, in the order of Table 3."""
DEFAULT_FEATURES: Final = FEATURES[:-1]
"""The last is hypothetical: a user would have to tell it before the session starts (§6.4.1)."""

PATHWAYS: Final = ("played", "skipped", "all")
"""Parts of the last session, each of which can have an RNN of its own (§6.4.2)."""


@dataclass(frozen=True)
class ModelInput:
    """An input of sequence models: `(batch,)` per user, else `(batch, sessions, *shape)`."""

    name: str
    per: Per
    shape: tuple[int, ...]
    dtype: str
    meaning: str
    feature: str | None = None
    """Of `FEATURES`; None: taken by some models whatever the features (`config.ARCHITECTURES`)."""
    pathway: str | None = None
    """Of `PATHWAYS`, if the input is of one only."""


MODEL_INPUTS: Final = (
    ModelInput("age_bucket", Per.USER, (), "int32", "bucket of the user's age; 0 unknown"),
    ModelInput("user_id", Per.USER, (), "string", "the user, as in the log, UTF-8"),
    *(
        ModelInput(
            name,
            Per.SESSION,
            (),
            "int32",
            f"{symbol}, context of the current session",
            feature="context",
        )
        for name, symbol in (("day_of_week", "D_t"), ("hour", "H_t"), ("device", "Y_t"))
    ),
    *(
        ModelInput(
            f"last_{pathway}",
            Per.SESSION,
            (EMBEDDING_DIM,),
            "float32",
            f"{symbol} of the last session",
            feature="last_session",
            pathway=pathway,
        )
        for pathway, symbol in zip(PATHWAYS, ("s⁺", "s⁻", "s"), strict=True)
    ),
    ModelInput(
        "last_num_tracks",
        Per.SESSION,
        (),
        "float32",
        "N of the last session; 0 before the first",
        feature="num_tracks",
    ),
    ModelInput(
        "last_stream_source",
        Per.SESSION,
        (),
        "int32",
        "z of the last session; 0 before the first",
        feature="stream_source",
    ),
    ModelInput("seconds_since_last", Per.SESSION, (), "float32", "Δ_t, seconds", feature="gap"),
    ModelInput(
        "current_stream_source",
        Per.SESSION,
        (),
        "int32",
        "z_t of the current session",
        feature="current_stream_source",
    ),
    ModelInput(
        "long_term", Per.SESSION, (EMBEDDING_DIM,), "float32", "ū_t (Eq. 1); zero without history"
    ),
)
