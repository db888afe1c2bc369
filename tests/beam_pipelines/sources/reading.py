"""What a source makes of a file, checked as in the job."""

from pathlib import Path

from beam_pipelines.rules.checks import check_listens
from beam_pipelines.rules.rows import RawListens
from beam_pipelines.sources.base import Source

from ..logs import Row


def read(source: Source, path: Path) -> list[RawListens]:
    return [raw for unit in source.units(path) for raw in source.read(unit)]


def clean_rows(source: Source, path: Path) -> list[Row]:
    return [row for raw in read(source, path) for row in check_listens(raw).clean.to_pylist()]


def rejected(source: Source, path: Path) -> list[tuple[int, str]]:
    return [
        (row.row, row.reason) for raw in read(source, path) for row in check_listens(raw).rejected
    ]


def picked(rows: list[Row], *names: str) -> list[tuple]:
    return [tuple(row[name] for name in names) for row in rows]
