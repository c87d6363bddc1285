"""Whether a path is a file at all, or a member of a tar, and its first bytes."""

import os
import stat
from typing import NamedTuple

from audio.errors import AudioError
from audio.tar_member import TarMember, open_raw

KINDS = {  # of what isn't a file
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Status(NamedTuple):
    """What tells a recording's versions apart."""

    size: int  # bytes
    mtime_ns: int  # of its file, or of the tar that it is in


def stat_of(path: str) -> os.stat_result:
    """Path -> the status of the file, or of the tar that a member is in; raises OSError or ValueError."""
    return os.stat(path.tar if isinstance(path, TarMember) else path)  # noqa: PTH116  (Path is 4 times as slow)


def status_of(path: str) -> Status:
    """Path -> the status of the file, which isn't opened: opening a FIFO or a device may wait for ever.

    Raises:
        AudioError: missing, not a file, or empty, as those of /proc are which wait for something to happen.
    """
    try:
        status = stat_of(path)
    except FileNotFoundError:
        raise AudioError(f"{path}: cannot be read: no such file") from None
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # a zero byte, or a character that has no bytes
        raise AudioError(f"{path}: cannot be read: no file can have this name") from None
    if not stat.S_ISREG(status.st_mode):
        raise AudioError(f"{path}: cannot be read: {KINDS[stat.S_IFMT(status.st_mode)]}, not a file")
    size = path.size if isinstance(path, TarMember) else status.st_size
    if size == 0:
        raise AudioError(f"{path}: cannot be read: empty, 0 bytes")
    return Status(size, status.st_mtime_ns)


def first_bytes(path: str) -> bytes:
    """File -> its first 4 bytes."""
    try:
        with open_raw(path) as file:
            return file.read(4) or b""
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from None
