"""The canonical log: Parquet, JSON Lines or CSV with the columns of `schema.LISTEN_COLUMNS`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import Unit
from beam_pipelines.sources.delimited import read_delimited, read_header
from beam_pipelines.sources.files import suffix_of
from beam_pipelines.sources.json_lines import check_json_lines, read_json_lines
from beam_pipelines.sources.parquet import read_row_groups, row_groups, schema_of
from cosernn_tf.errors import UserError
from cosernn_tf.schema import LISTEN_COLUMNS

_NAMES: Final = tuple(column.name for column in LISTEN_COLUMNS)
_REQUIRED: Final = tuple(column.name for column in LISTEN_COLUMNS if not column.nullable)
_TEXT: Final = tuple(column.name for column in LISTEN_COLUMNS if pa.types.is_string(column.type))
_REPEATED: Final = tuple(name for name in _TEXT if name != "track_id")

_PARQUET: Final = (".parquet",)
_JSON_LINES: Final = (".jsonl", ".ndjson", ".json")
_CSV: Final = (".csv",)
_TSV: Final = (".tsv",)


@dataclass(frozen=True)
class CanonicalSource:
    """Reads the canonical log; the suffix of a file tells which of its forms it has."""

    ignored_columns: tuple[str, ...] = ()
    """Columns beyond the canonical ones that are known to be there."""
    suffixes: tuple[str, ...] = (*_PARQUET, *_JSON_LINES, *_CSV, *_TSV)

    def units(self, path: Path) -> list[Unit]:
        """A unit for some row groups of a Parquet file, one for any other file."""
        suffix = suffix_of(path)
        if suffix not in self.suffixes:
            raise UserError(
                f"{path}: the ending {suffix!r} is none of {', '.join(self.suffixes)}, which tell "
                "the form of a canonical log; for another format give --listens_format"
            )
        if path.stat().st_size == 0:
            return []
        if suffix in _PARQUET:
            self._check(schema_of(path).names, str(path))
            return row_groups(path)
        if suffix in _JSON_LINES:
            check_json_lines(str(path))
        else:
            self._check(read_header(str(path), delimiter=_delimiter(suffix)), str(path))
        return [Unit(str(path))]

    def read(self, unit: Unit) -> Iterator[RawListens]:
        suffix = suffix_of(Path(unit.path))
        if suffix in _PARQUET:
            batches = read_row_groups(unit, _NAMES, dictionaries=_REPEATED)
        elif suffix in _JSON_LINES:
            batches = read_json_lines(
                unit.path, text_columns=_TEXT, ignored_columns=self.ignored_columns
            )
        else:
            delimiter = _delimiter(suffix)
            names = read_header(unit.path, delimiter=delimiter)
            batches = read_delimited(
                unit.path, delimiter=delimiter, names=names, has_header=True, quoted=True
            )
        for batch in batches:
            # A file without one good row has no columns to check.
            if len(batch.rows):
                self._check(list(batch.columns), unit.path, required=suffix not in _JSON_LINES)
            columns = {name: batch.columns[name] for name in _NAMES if name in batch.columns}
            yield RawListens(columns, batch.rows, batch.malformed)

    def _check(self, names: Sequence[str], path: str, *, required: bool = True) -> None:
        if set(names).isdisjoint(_NAMES):
            # Not quoted: they may be the first listen.
            raise UserError(
                f"{path} has none of the columns of a canonical log, which needs "
                f"{', '.join(_REQUIRED)}: a text file has their names in its first line"
            )
        missing = [name for name in _REQUIRED if name not in names]
        if missing and required:
            raise UserError(
                f"{path} has no column {', '.join(missing)} (it has {', '.join(names)}): a "
                f"canonical log needs {', '.join(_REQUIRED)}"
            )
        if "" in names:
            raise UserError(
                f"{path} has a column without a name, number {list(names).index('') + 1}: leave it "
                "out (pandas: to_csv(index=False)), or give it a name and --ignore_columns"
            )
        unknown = [name for name in names if name not in (*_NAMES, *self.ignored_columns)]
        if unknown:
            raise UserError(
                f"{path} has the unknown column {', '.join(unknown)}: the canonical ones are "
                f"{', '.join(_NAMES)}; --ignore_columns={','.join(unknown)} leaves it out"
            )
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        if repeated:
            raise UserError(f"{path} has the column {', '.join(repeated)} more than once")


def _delimiter(suffix: str) -> str:
    return "\t" if suffix in _TSV else ","
