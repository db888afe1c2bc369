"""Sources of listens, by the name that `--listens_format` takes.

A source maps native rows to columns of the canonical log, and leaves types, ranges and nulls to
`beam_pipelines.transforms.checks`. A new format is one file here and one line below.
"""

from beam_pipelines.sources.base import Source
from beam_pipelines.sources.canonical import CanonicalSource
from beam_pipelines.sources.lastfm1k import LastFm1KSource
from cosernn_tf.errors import UserError

FORMATS = ("canonical", "lastfm1k")


def create(name: str, *, ignored_columns: tuple[str, ...] = ()) -> Source:
    """Raises `UserError` for an unknown format."""
    if name == "canonical":
        return CanonicalSource(ignored_columns)
    if name == "lastfm1k":
        return LastFm1KSource()
    raise UserError(f"--listens_format={name} is unknown: choose from {', '.join(FORMATS)}")
