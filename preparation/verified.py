"""Files to have, and folder/verified.json: which of them were verified and haven't changed since."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from corpora._corpus import Part
from storage.files import write_text

_lock = Lock()  # of verified.json


def verify(path: Path, md5: str, folder: Path) -> bool:
    """File, md5 in hex -> whether it is the file's; folder/verified.json spares computing it again."""
    found = entry(path, md5)  # before the file is read: a change meanwhile then shows
    if is_remembered(path, md5, folder):
        return True
    with path.open("rb") as stream:
        right = hashlib.file_digest(stream, "md5").hexdigest() == md5.lower()
    if right:
        remember(path, found, folder)
    return right


def is_there(part: Part, folder: Path) -> bool:
    """Whether a file is there, in its size if that is all that is known; doesn't read it."""
    path = folder / part.name
    return path.is_file() and (part.md5 is not None or part.size in (None, path.stat().st_size))


def is_done(part: Part, folder: Path) -> bool:
    """Whether a file is there and, as far as its md5 is known, was verified."""
    path = folder / part.name
    return is_there(part, folder) and (part.md5 is None or is_remembered(path, part.md5, folder))


def is_remembered(path: Path, md5: str, folder: Path) -> bool:
    """Whether the file was verified as it is now."""
    memory = read_json(folder / "verified.json")
    return memory.get(os.path.relpath(path, folder)) == entry(path, md5)


def remember(path: Path, found: dict[str, Any], folder: Path) -> None:
    """Note that a file was verified."""
    with _lock:
        memory = read_json(folder / "verified.json") | {os.path.relpath(path, folder): found}
        write_text(folder / "verified.json", json.dumps(memory, indent=1, sort_keys=True) + "\n")


def entry(path: Path, md5: str) -> dict[str, Any]:
    """File, its md5 -> what tells whether it is still the same."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "md5": md5.lower()}


def read_json(path: Path) -> dict[str, Any]:
    """File of one object -> the object; empty if it can't be read, which costs time only."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}
