"""A store in one file, by SQLite: what `commit` has taken survives a power cut.

A transaction a commit, so that the listens of a micro-batch share one wait for the disk. The state
of a user is written when a session closes; until then the open session is rows.
"""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cosernn_tf.errors import UserError
from cosernn_tf.serving.listens import FIELDS, Key, Listen, values
from cosernn_tf.serving.store import StoredUser, StoreError, UserUpdate

STORE_VERSION: Final = 1

_BUSY_SECONDS: Final = 30.0
"""While another generation's states are being written, in short transactions."""

_SCHEMA: Final = """
CREATE TABLE listens (
    user_id TEXT NOT NULL,
    track_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL,
    ms_played INTEGER,
    skipped INTEGER,
    device TEXT,
    stream_source TEXT,
    utc_offset_minutes INTEGER,
    track_duration_ms INTEGER,
    late INTEGER NOT NULL,
    PRIMARY KEY (user_id, timestamp, track_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE generations (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    is_complete INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE users (
    generation INTEGER NOT NULL REFERENCES generations (number),
    user_id TEXT NOT NULL,
    state BLOB,
    open_from INTEGER,
    PRIMARY KEY (generation, user_id)
) STRICT;
"""
_COLUMNS: Final = ", ".join(FIELDS)
_PUT: Final = (
    f"INSERT OR REPLACE INTO listens ({_COLUMNS}, late) "
    f"VALUES ({', '.join('?' for _ in FIELDS)}, ?)"
)
_UPDATE: Final = """
INSERT INTO users (generation, user_id, state, open_from) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT DO UPDATE SET state = ifnull(?3, state), open_from = ifnull(?4, open_from)
"""
_STATE: Final = "SELECT state, open_from FROM users WHERE generation = ? AND user_id = ?"
_OPEN: Final = f"SELECT {_COLUMNS} FROM listens WHERE user_id = ? AND timestamp >= ? AND NOT late"
_KNOWN: Final = "SELECT 1 FROM listens WHERE user_id = ? AND track_id = ? AND timestamp = ?"
_FORGET: Final = """
DELETE FROM users WHERE (generation, user_id) IN
    (SELECT generation, user_id FROM users WHERE generation = ? LIMIT ?)
"""
_FORGOTTEN_AT_ONCE: Final = 1_000
"""Users whose states one transaction deletes: listens wait for no longer than it takes."""


class SqliteStore:
    """See `store.StateStore`; several generations may have a connection each, in one process."""

    def __init__(self, connection: sqlite3.Connection, path: Path, generation: str) -> None:
        self._connection = connection
        self._path = path
        self._generation = self._number_of(generation)

    @classmethod
    def open(cls, path: Path, *, generation: str) -> "SqliteStore":
        """Opens a store, or makes one; its folder is made too.

        Args:
            path: Of the file; SQLite has two more beside it, `-wal` and `-shm`.
            generation: What the states belong to, see `store`.

        Raises:
            UserError: It is no store, or one of another version, or cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # What people listen to is for nobody else to read; SQLite's other files follow suit.
            path.touch(mode=0o600)
            connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            _prepare(connection, path)
            return cls(connection, path, generation)
        except (sqlite3.Error, StoreError, OSError) as error:
            raise UserError(
                f"{path} cannot be used as the store of states ({error}): name another file"
            ) from error

    def _number_of(self, generation: str) -> int:
        with self._transaction() as run:
            run("INSERT OR IGNORE INTO generations (name) VALUES (?)", (generation,))
            row = run("SELECT number FROM generations WHERE name = ?", (generation,)).fetchone()
        return int(row[0])

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """All or nothing; durable after it."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection.execute
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"{self._path}: {error}") from error
            raise

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        try:
            yield self._connection.execute
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def load(self, users: Sequence[str]) -> dict[str, StoredUser]:
        found = {}
        with self._reading() as run:
            for user in users:
                row = run(_STATE, (self._generation, user)).fetchone()
                state, open_from = (None, None) if row is None else row
                own = tuple(map(_listen, run(_OPEN, (user, open_from or 0))))
                if state is not None or own:
                    found[user] = StoredUser(state, own)
        return found

    def commit(self, updates: Sequence[UserUpdate]) -> None:
        with self._transaction() as run:
            for update in updates:
                for listens, is_late in ((update.listens, 0), (update.late, 1)):
                    for listen in listens:
                        run(_PUT, (*values(listen), is_late))
                if update.state is not None or update.open_from is not None:
                    run(_UPDATE, (self._generation, update.user, update.state, update.open_from))

    def known(self, keys: Sequence[Key]) -> list[bool]:
        with self._reading() as run:
            return [run(_KNOWN, key).fetchone() is not None for key in keys]

    def listens(self, user: str) -> list[Listen]:
        with self._reading() as run:
            return list(map(_listen, run(_OPEN, (user, 0))))

    def is_complete(self) -> bool:
        with self._reading() as run:
            row = run(
                "SELECT is_complete FROM generations WHERE number = ?", (self._generation,)
            ).fetchone()
        return bool(row[0])

    def complete(self) -> None:
        with self._transaction() as run:
            run("UPDATE generations SET is_complete = 1 WHERE number = ?", (self._generation,))

    def keep_only(self, generations: Collection[str]) -> None:
        with self._reading() as run:
            rows = run("SELECT number, name FROM generations").fetchall()
        for number in (number for number, name in rows if name not in generations):
            deleted = 1
            while deleted:
                with self._transaction() as run:
                    deleted = run(_FORGET, (number, _FORGOTTEN_AT_ONCE)).rowcount
            with self._transaction() as run:
                run("DELETE FROM generations WHERE number = ?", (number,))

    def close(self) -> None:
        self._connection.close()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Sets the connection up, and makes the tables if there are none."""
    connection.execute("PRAGMA journal_mode = WAL")
    # Without, a power cut may take back what was committed last.
    connection.execute("PRAGMA synchronous = FULL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if version == 0 and tables == 0:
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {STORE_VERSION}; COMMIT;"
            )
        except sqlite3.OperationalError:  # another one was quicker
            connection.rollback()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != STORE_VERSION:
        raise UserError(
            f"{path} is a store of version {version}, and this is version {STORE_VERSION}: name "
            "another file, or remove it if its listens are in the log"
            if version
            else f"{path} is a database of something else: name another file"
        )


def _listen(row: tuple[Any, ...]) -> Listen:
    found = dict(zip(FIELDS, row, strict=True))
    if found["skipped"] is not None:
        found["skipped"] = bool(found["skipped"])
    return Listen(**found)
