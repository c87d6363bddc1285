"""Lists in, whole files out: what every part that touches the disk shares."""

import errno
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray


class Paths(Sequence[str]):
    """Many strings in two arrays: half the memory of a list, and worker processes share it.

    Reading a Python object changes its count of references, which copies a forked process's memory page
    by page; arrays have one count for all of their elements.
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends  # UTF-8 of all strings in a row, where each ends

    @classmethod
    def of(cls, strings: Iterable[str]) -> "Paths":
        """The same strings, compactly."""
        encoded = [string.encode() for string in strings]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(lengths))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # negative ones, and IndexError
        begin = self.ends[index - 1] if index else 0
        return self.text[begin : self.ends[index]].tobytes().decode()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Paths):
            return np.array_equal(self.ends, other.ends) and np.array_equal(self.text, other.text)
        return NotImplemented if not isinstance(other, list) else list(self) == other

    __hash__ = None  # type: ignore[assignment]


def read_lines(path: str, flag: str) -> Iterator[tuple[int, str]]:
    """Text file that a flag names -> (line number, stripped line) of the lines that aren't blank.

    Raises:
        FileNotFoundError, ValueError: absent, not text, or empty.
    """
    empty = True
    try:
        with Path(path).open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line := line.strip():
                    empty = False
                    yield number, line
    except FileNotFoundError:
        raise FileNotFoundError(f"{flag} {path}: no such file") from None
    except UnicodeDecodeError:
        raise ValueError(f"{flag} {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"{flag} {path}") from None
    if empty:
        raise ValueError(f"{flag} {path}: the list is empty")


def read_utterances(path: str, flag: str) -> Iterator[tuple[int, str, str]]:
    """Train list, or Kaldi directory with wav.scp and utt2spk -> (line number, speaker, path).

    Raises:
        FileNotFoundError, ValueError: as read_lines; a line of one field; a wav.scp entry that is a
            command or has no speaker.
    """
    if not Path(path).is_dir():
        yield from _fields(path, flag, "speaker path")
        return
    speakers = {name: speaker for _, name, speaker in _fields(f"{path}/utt2spk", flag, "utterance speaker")}
    for number, name, file in _fields(f"{path}/wav.scp", flag, "utterance path"):
        if file.endswith("|"):
            raise ValueError(f"{path}/wav.scp:{number}: {name} is a command; only paths can be read")
        if name not in speakers:
            raise ValueError(f"{path}/wav.scp:{number}: no speaker for {name} in utt2spk")
        yield number, speakers[name], file


def _fields(path: str, flag: str, form: str) -> Iterator[tuple[int, str, str]]:
    """Lines of two fields, the first without blanks -> (line number, first, second)."""
    for number, line in read_lines(path, flag):
        first, _, rest = line.replace("\t", " ").partition(" ")
        if not rest:
            raise ValueError(f'{path}:{number}: expected "{form}", got 1 field')
        yield number, first, rest.strip()


class TrainList(NamedTuple):
    """Utterances of a train list: speaker names (sorted), label and path of each, repeated lines left out."""

    speakers: list[str]
    labels: NDArray[np.int64]
    paths: Paths
    num_repeated: int
    num_excluded: int = 0

    def digest(self) -> str:
        """A hash of the speakers and paths in their order: what an epoch's draws depend on."""
        names = Paths.of(self.speakers)
        made = hashlib.sha256()
        for part in (names.text, names.ends, self.labels, self.paths.text, self.paths.ends):
            made.update(part.data)
        return made.hexdigest()


def read_train_list(list_path: str, exclude: str = "", flag: str = "--train_list") -> TrainList:
    """Train list or Kaldi directory -> utterances; a label is the index among the sorted speakers.

    Args:
        list_path: file of `speaker path` lines, or folder with wav.scp and utt2spk.
        flag: what named the list.
        exclude: file with paths to leave out, one in a line, as dataprep.py --check writes it.

    Raises:
        ValueError: a line of another form, a path under two speakers, or no line at all.
    """
    names: dict[str, str] = {}  # path -> speaker
    known: dict[str, str] = {}  # each speaker's name once, however many lines hold it
    num_lines = 0
    for number, speaker, path in read_utterances(list_path, flag):
        num_lines += 1
        speaker = known.setdefault(speaker, speaker)
        if names.setdefault(path, speaker) != speaker:
            raise ValueError(f"{list_path}:{number}: {path} is listed under {names[path]} and {speaker}")
    listed = len(names)
    for path in read_excluded(exclude) if exclude else ():
        names.pop(path, None)
    if not names:
        raise ValueError(f"{list_path}: --exclude {exclude} leaves nothing of it")
    speakers = sorted(set(names.values()))
    index = {speaker: label for label, speaker in enumerate(speakers)}
    labels = np.fromiter((index[speaker] for speaker in names.values()), np.int64, len(names))
    return TrainList(speakers, labels, Paths.of(names), num_lines - listed, listed - len(names))


def read_excluded(path: str) -> set[str]:
    """File of paths, one in a line, as dataprep.py --check writes it -> the paths; it may be empty."""
    if os.path.isfile(path) and os.path.getsize(path) == 0:  # noqa: PTH113, PTH202
        return set()
    return {line for _, line in read_lines(path, "--exclude")}


def walk(root: Path, unreadable: list[str] | None = None) -> Iterator[str]:
    """Folder -> paths of the files under it, relative, with slashes, by name; leaves hidden ones out.

    Links are followed, but none to a folder that it lies in. Folders that can't be read are left out and
    added to `unreadable`. os.scandir is faster than Path.rglob.
    """
    # folder, its path under root, the real folders of the links that led to it
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", ())]
    while waiting:
        folder, prefix, passed = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted((e for e in entries if e.name[0] != "."), key=lambda entry: entry.name)
        except (FileNotFoundError, PermissionError):
            if unreadable is not None:
                unreadable.append(folder)
            continue
        folders = list["os.DirEntry[str]"]()
        for entry in found:
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
    for path in paths:
        if not os.path.isfile(os.path.join(root, path)):  # noqa: PTH113, PTH118  (Path is 4 times as slow)
            raise FileNotFoundError(f"{Path(root) / path}: no such file; is {flag} {root} right?")


def lock(path: Path) -> TextIO:
    """Hold a file until this process ends, however it ends -> the file, to be kept.

    The kernel holds the lock, so none is ever left behind; worker processes don't inherit it. Who holds it
    stands in the file. File systems without locks are trusted.

    Raises:
        ValueError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    """Write a text file whole or not at all."""
    with written_whole(path) as stream:
        stream.write(text.encode())
