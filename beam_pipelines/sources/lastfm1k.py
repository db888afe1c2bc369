"""The Last.fm-1K log (O. Celma, 2010): tab-separated, without header or quotes, one row a listen.

Columns: user, time (ISO 8601, UTC), MusicBrainz id of the artist, its name, MusicBrainz id of the
track, its name. Many rows have no track id: there the names of artist and track identify it. The
profiles that stand beside the log are left out here; `--users` reads them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.delimited import read_delimited, read_first_rows

_NAMES: Final = ("user", "time", "artist_id", "artist_name", "track_id", "track_name")
_ROWS_TO_TELL: Final = 20


@dataclass(frozen=True)
class LastFm1KSource:
    """Reads `userid-timestamp-artid-artname-traid-traname.tsv`."""

    suffixes: tuple[str, ...] = (".tsv", ".txt")

    def units(self, path: Path) -> list[Unit]:
        if path.stat().st_size == 0:
            return []
        # Names may have tabs, so that not every row has six columns.
        rows = read_first_rows(str(path), delimiter="\t", count=_ROWS_TO_TELL, quoted=False)
        is_log = any(len(row) == len(_NAMES) for row in rows)
        return [Unit(str(path))] if is_log else []

    def read(self, unit: Unit) -> Iterator[RawListens]:
        batches = read_delimited(
            unit.path, delimiter="\t", names=_NAMES, has_header=False, quoted=False
        )
        for batch in batches:
            yield RawListens(_canonical(batch.columns), batch.rows, batch.malformed)


def _canonical(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    if not columns:
        return {}
    # The two kinds of id cannot be mistaken for each other: a name has a tab, an id has none.
    named = pc.binary_join_element_wise(columns["artist_name"], columns["track_name"], b"\t")
    return {
        "user_id": columns["user"],
        "track_id": pc.coalesce(columns["track_id"], named),
        "timestamp": columns["time"],
    }
