"""Recordings inside tar files, which are read where they lie; and the opening of any recording's bytes."""

import io
import os
from typing import Any, Self


class TarMember(str):
    """Path of a recording in a tar, such as `shards/0.tar/a.flac`, and where its bytes are.

    It is a str, so that it goes wherever the path of a file goes, and errors name it.
    """

    __slots__ = ("begin", "size", "tar")
    tar: str  # path of the file that holds it
    begin: int  # its first byte there
    size: int  # bytes

    def __new__(cls, path: str, tar: str, begin: int, size: int) -> Self:
        """A path that is never opened itself, and the place of the bytes."""
        member = super().__new__(cls, path)
        member.tar = tar
        member.begin = begin
        member.size = size
        return member

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.tar, self.begin, self.size)


class MemberFile(io.RawIOBase):
    """The bytes of a member as a file of their own, open."""

    def __init__(self, member: TarMember) -> None:
        super().__init__()
        self._tar = open(member.tar, "rb", buffering=0)  # noqa: PTH123, SIM115  (closed by close)
        self._begin = member.begin
        self._size = member.size
        self._place = 0
        self._tar.seek(self._begin)

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes from the member's start."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the member."""
        place = offset
        if whence == os.SEEK_CUR:
            place += self._place
        elif whence == os.SEEK_END:
            place += self._size
        if place < 0:
            raise OSError(f"a place before the member's start: {place}")
        self._tar.seek(self._begin + place)
        self._place = place
        return place

    def readinto(self, buffer: Any) -> int:
        """Read on, up to the member's end."""
        left = max(self._size - self._place, 0)
        count = self._tar.readinto(memoryview(buffer).cast("B")[:left]) or 0
        self._place += count
        return count

    def close(self) -> None:
        """Close the tar."""
        self._tar.close()
        super().close()


def open_raw(path: str) -> io.RawIOBase:
    """Path of a recording -> its bytes, unbuffered."""
    if isinstance(path, TarMember):
        return MemberFile(path)
    return open(path, "rb", buffering=0)  # noqa: PTH123  (Path is slower)


def open_bytes(path: str) -> io.BufferedReader:
    """Path of a recording -> its bytes."""
    return io.BufferedReader(open_raw(path))
