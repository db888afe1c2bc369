"""Which files an input flag names: files, globs and directories; and how they are opened."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from cosernn_tf.errors import UserError

_CODECS: Final = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
COMPRESSIONS: Final = tuple(_CODECS)

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_STARTS: Final = {
    b"\xff\xfe": "UTF-16 text: write it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16 text: write it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
    b"\x1f\x8b": "compressed by gzip: its name must end in .gz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: its name must end in .zst",
    b"BZh91AY&SY": "compressed by bzip2: its name must end in .bz2",
    b"\xfd7zXZ\0": "compressed by xz, which is not read: use gzip, zstd or bzip2",
    b"PK\3\4": "a ZIP archive or a spreadsheet: unpack it, or save it as CSV",
    b"PAR1\x15": "a Parquet file: its name must end in .parquet",
}
"""How files begin that are no text of ours, and what they are."""

FileVersion = tuple[int, int]
"""Size, and time of the last change in nanoseconds."""


def find_files(patterns: Sequence[str], suffixes: Sequence[str], *, flag: str) -> list[Path]:
    """The files that the patterns name, sorted; a directory stands for its files, at any depth.

    Links are followed. A directory that a glob matches stands for its files, too.

    Args:
        patterns: Files, globs or directories.
        suffixes: Of the files of a directory that count; those of compression may follow.
        flag: Where the patterns come from, for the message.

    Raises:
        UserError: A pattern names nothing, only empty files, or what cannot be read: a broken
            link, a pipe, a directory that may not be listed.
    """
    files: set[Path] = set()
    for pattern in patterns:
        found = list(_matches(pattern, suffixes, flag=flag))
        if not found:
            what = "has no file that ends in" if Path(pattern).is_dir() else "does not exist"
            endings = f" {', '.join(suffixes)}" if Path(pattern).is_dir() else ""
            raise UserError(f"{flag}={pattern} {what}{endings}: give a file, glob or directory")
        for path in found:
            _check_readable(path, flag=flag)
        if not any(version_of(path)[0] for path in found):
            raise UserError(f"{flag}={pattern} is empty: there is nothing to read")
        files.update(found)
    return sorted(files)


def check_apart(output: Path, *, listens: Sequence[str], files: Sequence[str]) -> None:
    """Raises `UserError` if the output lies in the input, or the other way round.

    Args:
        output: Replaced as a whole.
        listens: As given; of directories, the next run would read the output, too.
        files: All that are read.
    """
    target = output.resolve()
    for file in files:
        if Path(file).resolve().is_relative_to(target):
            raise UserError(
                f"{file} lies in {output}, which the job replaces: choose another --output, or put "
                "the log elsewhere"
            )
    for pattern in listens:
        if Path(pattern).is_dir() and target.is_relative_to(Path(pattern).resolve()):
            raise UserError(
                f"--output={output} lies in --listens={pattern}, of which it would be part next "
                "time: choose another --output, or name the log's files by a glob"
            )


def _check_readable(path: Path, *, flag: str) -> None:
    name = os.fsencode(path).decode(errors="backslashreplace")
    if name != str(path):
        raise UserError(f"{flag}: the name of {name} is not UTF-8: rename it")
    if not path.is_file():
        what = "a broken link" if path.is_symlink() else "no regular file"
        raise UserError(f"{flag}: {path} is {what}: mend or remove it")


def _matches(pattern: str, suffixes: Sequence[str], *, flag: str) -> Iterator[Path]:
    names = [pattern] if os.path.lexists(pattern) else glob.glob(pattern, recursive=True)
    for name in names:
        if os.path.isdir(name):
            yield from _files_below(name, suffixes, flag=flag)
        else:
            yield Path(name)


def _files_below(folder: str, suffixes: Sequence[str], *, flag: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"{flag}: {error.filename} may not be listed: {error.strerror}")

    entered = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        # A link may lead back to where it is.
        entered.add(os.path.realpath(parent))
        folders[:] = [
            f for f in folders if os.path.realpath(os.path.join(parent, f)) not in entered
        ]
        for name in names:
            path = Path(parent, name)
            if suffix_of(path) in suffixes:
                yield path


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
    return pa.input_stream(source, compression=_CODECS.get(Path(path).suffix.lower()))


def open_text(path: str) -> Any:
    """The bytes of a text file, without a byte order mark.

    Raises:
        UserError: It is something else than UTF-8 text, by its first bytes.
        OSError: It cannot be opened or decompressed.
    """
    with open_stream(path) as stream:
        start = stream.read(max(map(len, _STARTS)))
    for magic, what in _STARTS.items():
        if start.startswith(magic):
            raise UserError(f"{path} is {what}")
    stream = open_stream(path)
    if start.startswith(_BYTE_ORDER_MARK):
        stream.read(len(_BYTE_ORDER_MARK))
    return stream


def unreadable(path: str | Path, error: Exception, what: str) -> UserError:
    """The error of a file that cannot be read, because of `what` if not for a plainer reason."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{path} is no longer there: it was when the job began")
    if isinstance(error, PermissionError):
        return UserError(f"{path} may not be read: permission denied")
    return UserError(f"{path} is {what}: {error}")


def version_of(path: str | Path) -> FileVersion:
    """Raises `UserError` if the file is not there."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise unreadable(path, error, "unreadable") from error
    return status.st_size, status.st_mtime_ns


def check_unchanged(path: str, version: FileVersion | None) -> None:
    """Raises `UserError` if the file is not as it was when the job began; None: not known."""
    if version is not None and version_of(path) != version:
        raise UserError(f"{path} has changed since the job began: run it when the log is complete")
