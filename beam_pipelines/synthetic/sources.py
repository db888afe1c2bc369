"""Stream sources: how often each is used, how long its sessions are and what it plays."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np


class Channel(IntEnum):
    """Where a single track of a session comes from."""

    LIBRARY = 0
    """The user's tracks of the session's taste."""
    OTHER_LIBRARY = 1
    """The user's tracks of any taste that suits the context."""
    STYLE = 2
    """Popular tracks of the taste's style, known to the user or not."""
    GENRE = 3
    CHART = 4
    ALBUM = 5
    """An album in its order."""
    ARTIST = 6
    THEME = 7
    """What editors programme for the context, for everybody."""


@dataclass(frozen=True)
class Source:
    """A stream source."""

    name: str
    share: float
    """Of sessions, roughly."""
    length: float
    """Factor on the listens of a session."""
    channels: dict[Channel, float]
    """Share of its tracks by channel."""
    mainstream: float = 0.0
    """Log-odds per unit of a context's demand for the mainstream."""


_C = Channel
SOURCES: Final = (
    Source(
        "user_playlist",
        0.31,
        1.15,
        {_C.LIBRARY: 0.84, _C.OTHER_LIBRARY: 0.08, _C.STYLE: 0.06, _C.GENRE: 0.02},
    ),
    Source(
        "collection",
        0.17,
        1.2,
        {_C.LIBRARY: 0.54, _C.OTHER_LIBRARY: 0.4, _C.STYLE: 0.04, _C.GENRE: 0.02},
    ),
    Source("album", 0.11, 0.9, {_C.ALBUM: 0.7, _C.LIBRARY: 0.3}),
    Source("artist", 0.08, 0.8, {_C.ARTIST: 0.6, _C.LIBRARY: 0.36, _C.STYLE: 0.04}),
    Source("charts", 0.05, 0.9, {_C.CHART: 0.85, _C.LIBRARY: 0.1, _C.GENRE: 0.05}, 0.5),
    Source(
        "radio",
        0.11,
        1.5,
        {
            _C.STYLE: 0.3,
            _C.LIBRARY: 0.44,
            _C.GENRE: 0.14,
            _C.OTHER_LIBRARY: 0.06,
            _C.CHART: 0.06,
        },
    ),
    Source(
        "editorial_playlist",
        0.08,
        1.1,
        {_C.THEME: 0.76, _C.LIBRARY: 0.1, _C.STYLE: 0.08, _C.CHART: 0.06},
    ),
    Source(
        "search", 0.07, 0.35, {_C.STYLE: 0.25, _C.LIBRARY: 0.5, _C.GENRE: 0.12, _C.ARTIST: 0.13}
    ),
)
NUM_SOURCES: Final = len(SOURCES)
SOURCE_SHARES: Final = np.array([source.share for source in SOURCES])
SOURCE_LENGTHS: Final = np.array([source.length for source in SOURCES])
SOURCE_MAINSTREAM: Final = np.array([source.mainstream for source in SOURCES])
CHANNEL_SHARES: Final = np.array(
    [[source.channels.get(channel, 0.0) for channel in Channel] for source in SOURCES]
)
"""(sources, channels), rows sum to 1."""
