"""The logs of LFM-2b (M. Schedl et al., 2022) and of its older sister LFM-1b (M. Schedl, 2016).

LFM-2b: `listening-events.tsv.bz2`, with a header: user_id, track_id, album_id, timestamp
(`2019-04-01 00:00:00`, UTC). LFM-1b: `LFM-1b_LEs.txt`, without one: user, artist, album, track,
time (UTC seconds). Files of artists, albums, tracks and users that stand beside them are left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.delimited import read_delimited, read_first_rows

_COLUMNS: Final = ("user_id", "track_id", "timestamp")
_WITHOUT_HEADER: Final = {
    4: ("user_id", "track_id", "album_id", "timestamp"),
    5: ("user_id", "artist_id", "album_id", "track_id", "timestamp"),
}


@dataclass(frozen=True)
class Lfm2bSource:
    """Reads the listening events of both, told apart by their columns."""

    suffixes: tuple[str, ...] = (".tsv", ".txt")

    def units(self, path: Path) -> list[Unit]:
        if path.stat().st_size == 0:
            return []
        return [Unit(str(path))] if _layout(str(path)) else []

    def read(self, unit: Unit) -> Iterator[RawListens]:
        layout = _layout(unit.path)
        assert layout is not None, f"{unit.path} has changed"
        names, has_header = layout
        yield from read_delimited(
            unit.path,
            delimiter="\t",
            names=names,
            has_header=has_header,
            quoted=False,
            kept=_COLUMNS,
        )


def _layout(path: str) -> tuple[Sequence[str], bool] | None:
    """The names of the columns and whether a header has them; None for a file of another kind."""
    (first, *_) = read_first_rows(path, delimiter="\t", count=1, quoted=False) or [[]]
    names = [name.strip().replace("-", "_") for name in first]
    if set(_COLUMNS) <= set(names):
        return names, True
    is_event = all(field.isdecimal() for field in first[:3])
    return (_WITHOUT_HEADER[len(first)], False) if len(first) in (4, 5) and is_event else None
