"""Which files an input flag names: files, globs and directories."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from cosernn_tf.errors import UserError

COMPRESSIONS: Final = (".gz", ".zst", ".bz2")


def find_files(patterns: Sequence[str], suffixes: Sequence[str], *, flag: str) -> list[Path]:
    """The files that the patterns name, sorted; a directory stands for its files, at any depth.

    Args:
        patterns: Files, globs or directories.
        suffixes: Of the files of a directory that count; those of compression may follow.
        flag: Where the patterns come from, for the message.

    Raises:
        UserError: A pattern names nothing, or only empty files.
    """
    files: set[Path] = set()
    for pattern in patterns:
        found = _matches(pattern, suffixes)
        if not found:
            what = "has no file that ends in" if Path(pattern).is_dir() else "does not exist"
            endings = f" {', '.join(suffixes)}" if Path(pattern).is_dir() else ""
            raise UserError(f"{flag}={pattern} {what}{endings}: give a file, glob or directory")
        if not any(path.stat().st_size for path in found):
            raise UserError(f"{flag}={pattern} is empty: there is nothing to read")
        files.update(found)
    return sorted(files)


def suffix_of(path: Path) -> str:
    """The suffix that tells the format: that before one of compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def open_stream(path: str) -> Any:
    """The bytes of a file, decompressed as its suffix says."""
    return decompressed(path, path)


def decompressed(source: Any, path: str) -> Any:
    """The bytes of a source (of `pyarrow.input_stream`), as the suffix of the path says."""
    codecs = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
    return pa.input_stream(source, compression=codecs.get(Path(path).suffix.lower()))


def _matches(pattern: str, suffixes: Sequence[str]) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        return [file for file in path.rglob("*") if file.is_file() and suffix_of(file) in suffixes]
    if path.is_file():
        return [path]
    return [Path(match) for match in glob.glob(pattern, recursive=True) if Path(match).is_file()]
