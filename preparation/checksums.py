"""Checksums of downloaded files; verified.json records the verified ones, with size and time."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from corpora._corpus import Checksum, Part
from storage.files import write_text

_lock = Lock()  # of verified.json


def has_checksum(path: Path, checksum: Checksum, folder: Path) -> bool:
    """Whether a file has this checksum; computed only if folder/verified.json doesn't record it."""
    before = fingerprint(path, checksum)  # taken first: a change while the file is read then shows
    if is_recorded(path, checksum, folder):
        return True
    matches = file_checksum(path, checksum.algorithm) == checksum
    if matches:
        record(path, before, folder)
    return matches


def file_checksum(path: Path, algorithm: str) -> Checksum:
    """File -> its checksum, computed."""
    with path.open("rb") as stream:
        return Checksum(algorithm, hashlib.file_digest(stream, algorithm).hexdigest())


def is_present(part: Part, folder: Path) -> bool:
    """Whether a file is there, with the right size if only that is known; doesn't read it."""
    path = folder / part.name
    return path.is_file() and (part.checksum is not None or part.size in (None, path.stat().st_size))


def is_complete(part: Part, folder: Path) -> bool:
    """Whether a file is there and was verified, if its checksum is known."""
    path = folder / part.name
    checksum = part.checksum
    return is_present(part, folder) and (checksum is None or is_recorded(path, checksum, folder))


def is_recorded(path: Path, checksum: Checksum, folder: Path) -> bool:
    """Whether the file was verified and hasn't changed since."""
    records = read_json(folder / "verified.json")
    return records.get(os.path.relpath(path, folder)) == fingerprint(path, checksum)


def record(path: Path, file_fingerprint: dict[str, Any], folder: Path) -> None:
    """Record in folder/verified.json that a file was verified."""
    with _lock:
        records = read_json(folder / "verified.json") | {os.path.relpath(path, folder): file_fingerprint}
        write_text(folder / "verified.json", json.dumps(records, indent=1, sort_keys=True) + "\n")


def fingerprint(path: Path, checksum: Checksum) -> dict[str, Any]:
    """File, its checksum -> values that change when the file does."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, checksum.algorithm: checksum.value}


def read_json(path: Path) -> dict[str, Any]:
    """JSON file -> its object; empty if it can't be read, which costs a repeated check at most."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
