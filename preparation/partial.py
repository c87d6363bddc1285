"""A file that is arriving: NAME.part, and NAME.part.json that says which version of it."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from corpora._corpus import Part
from preparation.verified import read_json
from storage.files import write_text


class Partial:
    """NAME.part: what has arrived of a file, its md5 so far, and the version that the server called it."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self.path, self.notes = Path(f"{path}.part"), Path(f"{path}.part.json")
        self.progress, self.stream = progress, self.path.open("a+b")
        self.stream.seek(0)
        self.md5 = hashlib.file_digest(self.stream, "md5")
        self.length = self.stream.tell()
        notes = read_json(self.notes) if self.length else {}
        self.version: str = notes.get("version", "")
        self.total: int | None = notes.get("total")

    def restart(self, version: str = "", total: int | None = None) -> None:
        """Empty the file, before the notes change: they never describe bytes of another version."""
        self.progress(-self.length)
        self.stream.truncate(0)
        self.md5, self.length, self.version, self.total = hashlib.md5(), 0, version, total
        write_text(self.notes, json.dumps({"version": version, "total": total}))

    def append(self, chunk: bytes) -> None:
        """Bytes of the body, in order."""
        self.stream.write(chunk)
        self.md5.update(chunk)
        self.length += len(chunk)
        self.progress(len(chunk))

    def differs(self, part: Part) -> str:
        """How the complete file differs from what it should be, "" if it doesn't."""
        if part.md5:
            got = self.md5.hexdigest()
            return "" if got == part.md5.lower() else f"expected md5 {part.md5.lower()}, got {got}"
        return "" if part.size in (None, self.length) else f"expected {part.size} bytes, got {self.length}"

    def rename(self, path: Path) -> None:
        """Give the file another name once all of it is on the disk."""
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.notes.unlink(missing_ok=True)
        self.path.replace(path)
