"""The SQLite file of a speaker database: its tables, its settings, transactions."""

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from inference.speakers.database_errors import plain_errors

APPLICATION_ID = 0x53504B44  # "SPKD", in the header of the file
FORMAT = 1  # of the tables
SETTINGS = {"prototypes", "model", "flags", "fingerprint", "embedding_size"}  # in `meta`, besides the format
BUSY_S = 60.0  # how long a process waits for another one to finish writing
RETRY_S = 0.01
ROWS = 4096  # read at once
# Each change of a speaker's recordings is a row of `changes`, so that an index knows what it lacks. The token
# tells the history of this file from that of another one, such as a copy that was restored.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE speakers (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    speaker INTEGER NOT NULL REFERENCES speakers (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    vector BLOB NOT NULL,
    duration_s REAL NOT NULL,
    speech_s REAL NOT NULL,
    date TEXT NOT NULL,
    UNIQUE (speaker, path)
);
CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    speaker INTEGER NOT NULL,
    token TEXT NOT NULL DEFAULT (hex(randomblob(8)))
);
CREATE TRIGGER recording_added AFTER INSERT ON recordings
    BEGIN INSERT INTO changes (speaker) VALUES (new.speaker); END;
CREATE TRIGGER recording_changed AFTER UPDATE ON recordings
    BEGIN INSERT INTO changes (speaker) VALUES (old.speaker), (new.speaker); END;
CREATE TRIGGER recording_removed AFTER DELETE ON recordings
    BEGIN INSERT INTO changes (speaker) VALUES (old.speaker); END;
"""


class Model(NamedTuple):
    """The model that computes the embeddings of a database."""

    name: str  # as given to --initial_model
    fingerprint: str  # the same for the same weights and the same way of embedding
    embedding_size: int
    flags: str = ""  # how recordings are embedded, as on the command line


class DatabaseFile:
    """An open file. Every change is a transaction that is on the disk when it ends.

    Any number of processes may have the file open. An object belongs to the thread that made it.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str = "") -> None:
        """Opens an existing database.

        Args:
            path: of the file.
            fingerprint: of the model that is used with it; "" = any, where no embeddings are computed.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError, OSError: it is no database of speakers, damaged, of a newer version, or can't be read;
                or its embeddings were computed by another model.
        """
        self.path = Path(path).absolute()  # the working folder may change
        self._fingerprint = fingerprint
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path}: no such database; enrol makes it: enrol NAME FILES --db PATH"
            )
        with self._plain_errors():
            self._connection = _connect(self.path)
        try:
            self._check_format()
            self.require_model()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the object can't be used any more."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def model(self) -> Model:
        """The model that computed the embeddings."""
        meta = self.meta()
        return Model(meta["model"], meta["fingerprint"], int(meta["embedding_size"]), meta["flags"])

    @property
    def prototypes(self) -> str:
        """What a speaker's recordings are compared by: mean or max."""
        return self.meta()["prototypes"]

    def meta(self) -> dict[str, str]:
        """Format, model and settings."""
        return dict(self.rows("SELECT key, value FROM meta"))

    def tuning(self) -> dict[str, Any] | None:
        """What set_tuning stored last; None if nothing, or since the model has changed.

        Raises:
            ValueError: it is damaged.
        """
        text = self.meta().get("tuning", "null")
        try:
            content = json.loads(text)
        except ValueError:
            content = text
        if content is not None and not isinstance(content, dict):
            raise ValueError(f"{self.path}: its tuned decision is damaged; tune it again")
        return content

    def set_tuning(self, content: dict[str, Any]) -> None:
        """Keep plain values of a decision that was tuned on these speakers."""
        with self.writing() as connection:
            self.require_model()
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('tuning', ?)", (json.dumps(content),))

    def require_model(self) -> None:
        """Raises ValueError if another model computed the embeddings than the one that it was opened for."""
        model = self.model
        if self._fingerprint not in ("", model.fingerprint):
            way = " ".join(filter(None, (model.name, model.flags)))
            raise ValueError(
                f"{self.path}: its embeddings were computed by --initial_model {way}, or by that model "
                "before it changed; give the same flags, or re-embed all recordings (migrate)"
            )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within it all reads see the same state, whatever other processes write."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on the disk at its end, or undone if there was an error."""
        with self._plain_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise

    def findings_of_sqlite(self) -> list[str]:
        """What SQLite finds wrong with the file, or with references between its tables."""
        try:
            problems = [row[0] for row in self._connection.execute("PRAGMA integrity_check")]
            orphans = self._connection.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
            return [str(error)]
        findings = [problem for problem in problems if problem != "ok"]
        return [*findings, *(f"row {row[1]} of {row[0]} refers to no speaker" for row in orphans)]

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """A query and its values -> all its rows."""
        with self._plain_errors():
            return self._connection.execute(sql, values).fetchall()

    def row_blocks(self, sql: str, values: Sequence[Any] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """A query and its values -> some of its rows at a time."""
        with self._plain_errors():
            cursor = self._connection.execute(sql, values)
            while rows := cursor.fetchmany(ROWS):
                yield rows

    def _plain_errors(self) -> AbstractContextManager[None]:
        return plain_errors(self.path)

    def _check_format(self) -> None:
        """Raises ValueError unless this version of the program can use the file."""
        if self.rows("PRAGMA application_id")[0][0] != APPLICATION_ID:
            raise ValueError(f"{self.path}: an SQLite file, but not a database of speakers")
        meta = self.meta()
        found = meta.get("format", "")
        if not found.isdecimal() or int(found) > FORMAT:
            raise ValueError(
                f"{self.path}: its format is {found or 'unknown'}, this version reads up to {FORMAT}"
            )
        if not meta.keys() >= SETTINGS or not meta["embedding_size"].isdecimal():
            raise ValueError(f"{self.path}: its settings are damaged; restore a copy")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _connect(path: Path) -> sqlite3.Connection:
    """Path -> a connection without transactions of its own making."""
    uri = path.absolute().as_uri()
    place = path.resolve()  # SQLite follows links
    log = place.with_name(f"{place.name}-wal")
    try:
        return _opened(uri)
    except sqlite3.OperationalError as error:
        is_read_only = error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))
        if not is_read_only or (log.exists() and log.stat().st_size):
            raise
        # SQLite wants to make files beside it, unless it is told that nobody writes
        return _opened(f"{uri}?immutable=1")


def _opened(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, timeout=BUSY_S, isolation_level=None, uri=True)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def require_folder(path: Path) -> None:
    """Raises FileNotFoundError if the folder of a file that is to be made doesn't exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} doesn't exist")


def make_tables(path: Path, model: Model, prototypes: str) -> None:
    """Make the tables, unless the file has some; of several processes the first one does."""
    require_folder(path)
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        if _has_tables(connection):
            return
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if not _has_tables(connection):
            for statement in _statements(TABLES):
                connection.execute(statement)
            meta = {"format": FORMAT, "created": now(), "prototypes": prototypes, "model": model.name}
            meta |= {"fingerprint": model.fingerprint, "embedding_size": model.embedding_size}
            meta["flags"] = model.flags
            connection.executemany("INSERT INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in meta.items()])
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to WAL mode; where other processes do so at once, SQLite refuses it without waiting."""
    end_s = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > end_s:
                raise
        time.sleep(RETRY_S)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """A script -> its statements; executescript would end the transaction."""
    statement = ""
    for line in script.splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
