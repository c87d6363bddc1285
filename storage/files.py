"""Files written whole or not at all, folders walked, locks: what every part that touches the disk shares."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO


def walk(root: Path, unreadable: list[str] | None = None) -> Iterator[str]:
    """Folder -> paths of the files under it, relative, with slashes, by name; leaves hidden ones out.

    Links are followed, except to a folder that contains them. Folders that can't be read are left out and
    added to `unreadable`. os.scandir is faster than Path.rglob.
    """
    # folder, its path under root, the real folders of the links that led to it
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", ())]
    while waiting:
        folder, prefix, passed = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                visible = sorted((e for e in entries if e.name[0] != "."), key=lambda entry: entry.name)
        except (FileNotFoundError, PermissionError):
            if unreadable is not None:
                unreadable.append(folder)
            continue
        folders = list["os.DirEntry[str]"]()
        for entry in visible:
            if _is_folder(entry):
                folders.append(entry)
            else:
                yield prefix + entry.name
        for entry in reversed(folders):
            places = passed
            if entry.is_symlink():
                places = (*passed, os.path.realpath(folder))
                target = os.path.join(os.path.realpath(entry.path), "")  # noqa: PTH118  (ends in a slash)
                if any(f"{place}/".startswith(target) for place in places):
                    continue
            waiting.append((entry.path, f"{prefix}{entry.name}/", places))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def require_files(root: str, paths: Iterable[str], flag: str) -> None:
    """Raises FileNotFoundError for the first of the paths under root that isn't a file."""
    given = f"{flag} {root}".rstrip()
    for path in paths:
        if not os.path.isfile(os.path.join(root, path)):  # noqa: PTH113, PTH118  (Path is 4 times as slow)
            raise FileNotFoundError(f"{Path(root) / path}: no such file; is {given} right?")


def lock(path: Path) -> TextIO:
    """Hold a file until this process ends, however it ends -> the file, to be kept.

    The kernel holds the lock, so none is left behind; worker processes don't inherit it. The file
    names the process that holds it. On file systems and platforms without locks nothing is checked.

    Raises:
        ValueError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a+", encoding="utf-8")
    try:
        import fcntl  # not on every platform

        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ModuleNotFoundError:
        return stream
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            stream.seek(0)
            raise ValueError(f"{path} is held by {stream.read().strip() or 'another process'}") from None
    stream.truncate(0)
    stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    stream.flush()
    return stream


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete and on the disk, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def digest(path: Path) -> str:
    """A hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 whole or not at all; bytes of names that aren't UTF-8 become escapes."""
    write_texts(path, [text])


def write_texts(path: Path, texts: Iterable[str]) -> None:
    """The same for a text that comes in parts."""
    with written_whole(path) as stream:
        for text in texts:
            stream.write(text.encode(errors="backslashreplace"))
