"""Ids replaced by keyed hashes, for people who must not keep raw ones (`--hash_ids`).

A hash is the HMAC-SHA256 (RFC 2104), in hexadecimal, of a salt and the id in UTF-8, with the key of
a file. The salt names this use and the column, so that the same key gives other hashes elsewhere.
"""

import hmac
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from absl import logging

from cosernn_tf.errors import UserError
from cosernn_tf.workspace import RAW_IDS

LABEL: Final = "cosernn_tf/hash_ids/1"
HMAC_SHA256: Final = "hmac-sha256"
ID_COLUMNS: Final = ("user_id", "track_id")

_MIN_KEY_BYTES: Final = 16
_CHECK_DIGITS: Final = 16
_HOW_TO: Final = "(umask 077; openssl rand -hex 32 > KEYFILE) makes one"


def hash_id(id: str, key: bytes, column: str) -> str:
    """What stands for an id of `column`, one of `ID_COLUMNS`: 64 hexadecimal digits.

    The message is `LABEL`, a slash, the column's name, a NUL, and the id in UTF-8.
    """
    message = f"{LABEL}/{column}\0".encode() + id.encode()
    return hmac.digest(key, message, "sha256").hex()


def read_key(path: str | Path) -> bytes:
    """The content of a key file, but for one newline at its end.

    Raises:
        UserError: It cannot be read, or is too short for a key.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise UserError(f"--hash_ids={path} is no file: {_HOW_TO}")
        key = file.read_bytes()
    except OSError as error:
        raise UserError(f"--hash_ids={path} cannot be read: {error.strerror}") from error
    key = key.removesuffix(b"\r\n" if key.endswith(b"\r\n") else b"\n")
    if len(key) < _MIN_KEY_BYTES:
        raise UserError(
            f"--hash_ids={path} has {len(key)} bytes, too few for a key, which must be random and "
            f"have at least {_MIN_KEY_BYTES}: {_HOW_TO}"
        )
    return key


def _warn_of_readers(path: str) -> None:
    """Warns if others than its owner may read a key file."""
    mode = Path(path).stat().st_mode
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        logging.warning(
            "--hash_ids=%s can be read by others (mode %o): chmod 600 it",
            path,
            stat.S_IMODE(mode),
        )


@dataclass(frozen=True)
class IdHasher:
    """Hashes the ids of columns."""

    key: bytes = field(repr=False)
    columns: tuple[str, ...]

    @property
    def check(self) -> str:
        """Equal for equal keys, of no use to find one."""
        return hash_id("", self.key, "check")[:_CHECK_DIGITS]

    def kept(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What may be kept of a rejected row's values: ids and numbers.

        Other text may hold an id, too: the fields may stand under wrong names.
        """
        return {
            name: value
            for name, value in values.items()
            if name in self.columns or not isinstance(value, str)
        }

    def shown(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same, of a row whose ids are raw: they are hashed."""
        return {
            name: hash_id(value, self.key, name) if isinstance(value, str) else value
            for name, value in self.kept(values).items()
        }

    def table(self, table: pa.Table) -> pa.Table:
        """The same rows, ids of text hashed; each distinct one once."""
        for column in self.columns:
            if column in table.column_names:
                raw = table[column].combine_chunks()
                ids = raw.dictionary_encode()
                hashes = [hash_id(id, self.key, column) for id in ids.dictionary.to_pylist()]
                hashed = pa.DictionaryArray.from_arrays(ids.indices, pa.array(hashes, pa.string()))
                place = table.column_names.index(column)
                table = table.set_column(place, table.schema.field(column), hashed.cast(raw.type))
        return table


@dataclass(frozen=True)
class StoredIds:
    """How a run stores ids: raw, or hashed; every step has it.

    The key itself does not travel with it: a distributed engine would keep it with the job.
    """

    key_file: str | None = None
    """Of the key; None: ids stay raw."""
    columns: tuple[str, ...] = ()
    check: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    """What files are called instead of their paths, which may name a person."""

    @classmethod
    def hashed(cls, key_file: str, columns: tuple[str, ...]) -> "StoredIds":
        """Raises `UserError` for a file that has no key."""
        hasher = IdHasher(read_key(key_file), columns)
        _warn_of_readers(key_file)
        return cls(key_file, columns, hasher.check)

    def hasher(self) -> IdHasher | None:
        """Raises `UserError` if the file no longer has the key that the run began with."""
        if self.key_file is None:
            return None
        hasher = IdHasher(read_key(self.key_file), self.columns)
        if hasher.check != self.check:
            raise UserError(f"--hash_ids={self.key_file} was changed during the run: run it again")
        return hasher

    def naming(self, files: Sequence[Path], *, flag: str, num_before: int = 0) -> "StoredIds":
        """With names for the files of a flag, by their order, if ids are hashed.

        Those of an older run, `num_before`, come before them.
        """
        if self.key_file is None:
            return self
        names = {
            str(path): f"file {number} of {num_before + len(files)} of {flag}"
            for number, path in enumerate(files, start=num_before + 1)
        }
        return replace(self, names={**self.names, **names})

    def name(self, path: str) -> str:
        """What to call a file."""
        return self.names.get(path, path)

    def anonymous(self, message: str, path: str) -> str:
        """What is wrong with a file, without its path."""
        if self.key_file is None:
            return message
        message = message.replace(path, self.name(path))
        for folder in Path(path).parents:
            message = message.replace(f"{folder}/", "") if folder.name else message
        return message

    def description(self) -> dict[str, str]:
        """For the manifest."""
        if self.key_file is None:
            return dict(RAW_IDS)
        forms = dict.fromkeys(self.columns, HMAC_SHA256)
        return {**RAW_IDS, **forms, "label": LABEL, "check": self.check}
