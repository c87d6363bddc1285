"""What SQLite reports about a database of speakers, in one line that says what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# by the beginning of the error's name
REASONS = {
    "SQLITE_NOTADB": "not a database of speakers",
    "SQLITE_CORRUPT": "damaged; restore a copy, and find out with db-check whether that is whole",
    "SQLITE_READONLY": "can't be written: the file or its folder is read-only",
    "SQLITE_CANTOPEN": "can't be opened: the file or its folder can't be read or written",
    "SQLITE_PERM": "can't be opened: no permission",
    "SQLITE_AUTH": "can't be opened: no permission",
    "SQLITE_BUSY": "another process has been writing to it for too long; try again",
    "SQLITE_LOCKED": "another process has been writing to it for too long; try again",
    "SQLITE_FULL": "no space left on its disk; nothing was changed",
    "SQLITE_IOERR": "its disk reports an error",
}
OF_THE_SYSTEM = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_FULL", "SQLITE_IOERR")


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Path of a database -> turns the errors of SQLite within into ValueError or OSError of one line."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", None) or ""
        code = next((code for code in REASONS if name.startswith(code)), "")
        message = f"{path}: {REASONS.get(code, 'damaged, or not a database of speakers')} ({error})"
        raise (OSError if code in OF_THE_SYSTEM else ValueError)(message) from None
