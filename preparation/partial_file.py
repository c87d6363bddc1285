"""A file that is being downloaded: NAME.part, and NAME.part.json with its version and size."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from corpora._corpus import Part
from preparation.checksums import read_json
from storage.files import write_text


class PartialFile:
    """NAME.part: the bytes that have arrived, their hash, and the version that the server stated."""

    def __init__(self, path: Path, part: Part, add_progress: Callable[[int], None]) -> None:
        self.part = part
        self.path = Path(f"{path}.part")
        self.notes_path = Path(f"{path}.part.json")
        self.add_progress = add_progress  # called with a number of bytes
        self.stream = self.path.open("a+b")
        self.stream.seek(0)
        self.algorithm = part.checksum.algorithm if part.checksum else "md5"
        self.hash = hashlib.file_digest(self.stream, self.algorithm)
        self.length = self.stream.tell()
        notes = read_json(self.notes_path) if self.length else {}
        self.version: str = notes.get("version", "")
        self.total: int | None = notes.get("total")  # bytes of the whole file

    def is_complete(self) -> bool:
        """Whether as many bytes have arrived as the whole file has."""
        return self.length == self.total

    def restart(self, version: str = "", total: int | None = None) -> None:
        """Discard the bytes, before the notes change: these never describe bytes of another version."""
        self.add_progress(-self.length)
        self.stream.truncate(0)
        self.hash = hashlib.new(self.algorithm)
        self.length = 0
        self.version = version
        self.total = total
        write_text(self.notes_path, json.dumps({"version": version, "total": total}))

    def append(self, chunk: bytes) -> None:
        """Write the next bytes."""
        self.stream.write(chunk)
        self.hash.update(chunk)
        self.length += len(chunk)
        self.add_progress(len(chunk))

    def mismatch(self) -> str:
        """How the complete file differs from what is expected of it, "" if it doesn't."""
        if checksum := self.part.checksum:
            value = self.hash.hexdigest()
            return "" if value == checksum.value else f"expected {checksum}, got {value}"
        size = self.part.size
        return "" if size in (None, self.length) else f"expected {size} bytes, got {self.length}"

    def rename(self, path: Path) -> None:
        """Rename the file once all of it is on the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.notes_path.unlink(missing_ok=True)
        self.path.replace(path)
