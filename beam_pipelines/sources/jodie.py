"""The data sets of JODIE (S. Kumar, X. Zhang, J. Leskovec, KDD 2019): CSV, one row an interaction.

A header, `user_id,item_id,timestamp,state_label,comma_separated_list_of_features`, whose last name
stands for any number of columns. Times are seconds from the first interaction; here they count
from `times.START_OF_RELATIVE_TIMES`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.delimited import read_delimited, read_first_rows
from beam_pipelines.sources.times import START_OF_RELATIVE_TIMES, later

_COLUMNS: Final = ("user_id", "track_id", "timestamp")
_HEADER_ENDS: Final = ["timestamp", "state_label"]
"""Of the third column on; the first two have more than one name."""


@dataclass(frozen=True)
class JodieSource:
    """Reads `lastfm.csv` and the others, an item taken for a track."""

    suffixes: tuple[str, ...] = (".csv",)

    def units(self, path: Path) -> list[Unit]:
        if path.stat().st_size == 0:
            return []
        header, *rows = read_first_rows(str(path), delimiter=",", count=2, quoted=False)
        if [name.strip() for name in header[2:4]] != _HEADER_ENDS:
            return []
        return [Unit(str(path))] if rows else []

    def read(self, unit: Unit) -> Iterator[RawListens]:
        _, first_row = read_first_rows(unit.path, delimiter=",", count=2, quoted=False)
        names = [*_COLUMNS, *(f"feature_{place}" for place in range(len(first_row) - 3))]
        batches = read_delimited(
            unit.path, delimiter=",", names=names, has_header=True, quoted=False, kept=_COLUMNS
        )
        for batch in batches:
            columns = dict(batch.columns)
            if columns:
                columns["timestamp"] = later(columns["timestamp"], START_OF_RELATIVE_TIMES)
            yield RawListens(columns, batch.rows, batch.malformed)
