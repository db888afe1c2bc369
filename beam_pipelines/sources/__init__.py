"""Sources of listens, by the name that `--listens_format` takes.

A source maps native rows to columns of the canonical log, and leaves types, ranges and nulls to
`beam_pipelines.rules.checks`. A new format is one file here and one line below (docs/formats.md).
"""

from collections.abc import Callable
from typing import Final

from beam_pipelines.sources.base import Source
from beam_pipelines.sources.canonical import CanonicalSource
from beam_pipelines.sources.jodie import JodieSource
from beam_pipelines.sources.lastfm1k import LastFm1KSource
from beam_pipelines.sources.lfm2b import Lfm2bSource
from beam_pipelines.sources.listenbrainz import ListenBrainzSource
from beam_pipelines.sources.spotify import SpotifySource
from beam_pipelines.sources.yambda import YambdaSource
from cosernn_tf.errors import UserError

_FOREIGN: Final[dict[str, Callable[[], Source]]] = {
    "lastfm1k": LastFm1KSource,
    "lfm2b": Lfm2bSource,
    "listenbrainz": ListenBrainzSource,
    "spotify": SpotifySource,
    "yambda": YambdaSource,
    "jodie": JodieSource,
}
FORMATS: Final = ("canonical", *_FOREIGN)


def create(name: str, *, ignored_columns: tuple[str, ...] = ()) -> Source:
    """Raises `UserError` for an unknown format."""
    if name == "canonical":
        return CanonicalSource(ignored_columns)
    if name in _FOREIGN:
        return _FOREIGN[name]()
    raise UserError(f"--listens_format={name} is unknown: choose from {', '.join(FORMATS)}")
