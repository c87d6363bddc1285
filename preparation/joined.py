"""An archive that comes in parts, read as one file without writing a joined copy."""

import errno
import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from tqdm import tqdm

CHUNK = 2**20  # bytes that are read at once
byte_progress = partial(tqdm, unit="B", unit_scale=True, disable=None, leave=False)


class JoinedFile(io.RawIOBase):
    """Parts (paths, in order) as one seekable file for reading."""

    def __init__(self, parts: Sequence[Path]) -> None:
        super().__init__()
        self._parts = list(parts)
        self._position = 0
        self._offsets = list(accumulate((part.stat().st_size for part in parts), initial=0))
        self.size = self._offsets[-1]

    def readable(self) -> bool:
        """Yes."""
        return True

    seekable = readable

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Offset from the start, from the position or from the end -> position."""
        position = offset + (0, self._position, self.size)[whence]
        if position < 0:
            raise OSError(errno.EINVAL, "a position before the start", str(self._parts[0]))
        self._position = position
        return position

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, across the ends of parts -> number of bytes."""
        view = memoryview(buffer).cast("B")
        num_read = 0
        while num_read < len(view) and self._position < self.size:
            index = bisect_right(self._offsets, self._position) - 1
            num_wanted = self._offsets[index + 1] - self._position
            with io.FileIO(self._parts[index]) as part:  # opening costs nothing beside reading a chunk
                part.seek(self._position - self._offsets[index])
                count = part.readinto(view[num_read : num_read + num_wanted])
            if not count:
                raise OSError(errno.EIO, "became shorter while it was read", str(self._parts[index]))
            num_read += count
            self._position += count
        return num_read


def check_joined(parts: Sequence[Path], md5: str) -> None:
    """Raises ValueError unless the joined bytes of the parts, in order, have this md5."""
    digest = hashlib.md5(usedforsecurity=False)
    name = f"{parts[0].name} ..."
    with JoinedFile(parts) as joined, byte_progress(desc=f"checking {name}", total=joined.size) as bar:
        while chunk := joined.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != md5.lower():
        sums = f"expected md5 {md5} of the joined parts, got {digest.hexdigest()}"
        raise ValueError(f"{parts[0]} ...: {sums}; download the parts again")
