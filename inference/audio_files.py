"""Which recordings a user means: files, folders and lists -> their paths, names and speakers."""

import os
import os.path
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from audio.any_format import NAMES
from audio.kaldi import is_kaldi_directory, read_scp
from audio.lists import is_file
from audio.utterances import Paths, read_lines
from metrics.fields import Line
from storage.files import walk

LISTS = (".txt", ".lst", ".scp")
KALDI = ".scp"
T = TypeVar("T")
Entry = tuple[str, str, str]  # name, path, speaker ("" if it isn't known)


class AudioFiles(NamedTuple):
    """Recordings in the order in which they are named, each once."""

    paths: Paths
    names: Paths  # the path, or the utterance's name in wav.scp; each is another
    speakers: Paths  # "" where no list names one
    num_repeated: int  # how many were named again, and left out
    unreadable: list[str]  # folders that can't be read, and so were left out


def files_of(arguments: Iterable[str]) -> AudioFiles:
    """Recordings, folders of them and lists -> the recordings; only those of lists are looked for.

    A folder is searched for names of recordings of any format. A list is a text file .txt or .lst with one
    path or `speaker path` in each line, or a Kaldi wav.scp of `utterance path` lines. The first line that
    names a file decides for the whole list which of the two its lines are, and where relative paths start: at
    the working folder, otherwise at the list's folder. Anything else is a recording, "-" standard input.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: a folder without recordings, a list of which no line names a file, a line without a path,
            a recording of two speakers, or two recordings of one name.
    """
    unreadable = list[str]()
    speakers: dict[str, str] = {}  # by name
    paths: dict[str, str] = {}  # by name, where it isn't the path itself
    num_entries = 0
    for argument in arguments:
        for name, path, speaker in _entries(argument, unreadable):
            num_entries += 1
            first = speakers.setdefault(name, speaker)
            if speaker != first:
                speakers[name] = _one_of(first, speaker, f"{argument}: {name} is listed under")
            if name is not path and paths.setdefault(name, path) != path:
                raise ValueError(f"{argument}: {name} is {path}, and in another list {paths[name]}")
    names = Paths.of(speakers)
    return AudioFiles(
        Paths.of(paths.get(name, name) for name in speakers) if paths else names,
        names,
        Paths.of(speakers.values()),
        num_entries - len(speakers),
        unreadable,
    )


def _one_of(first: str, second: str, message: str) -> str:
    """Two different speakers, one of them unknown -> the known one; raises ValueError for two known ones."""
    if first and second:
        raise ValueError(f"{message} {first} and {second}")
    return first or second


def _file(start: str, path: str) -> Entry:
    """A recording without a name of its own; of several spellings of a path one is kept."""
    path = os.path.join(start, path)  # noqa: PTH118  (Path is 4 times as slow)
    if "./" in path or "//" in path:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if parts != ["-"] or path.startswith("/"):  # ./- is a file, - standard input
            path = "/" * path.startswith("/") + "/".join(parts)
    return path, path, ""


def _entries(argument: str, unreadable: list[str]) -> Iterator[Entry]:
    """File, folder or list -> its recordings; folders that can't be read are added to `unreadable`."""
    if os.path.isdir(argument):  # noqa: PTH112  (Path.is_dir raises for some names)
        yield from _in_folder(argument, unreadable)
    elif argument.lower().endswith(KALDI):
        yield from _in_scp(argument)
    elif argument.lower().endswith(LISTS):
        yield from _in_list(argument)
    else:
        yield _file("", argument)


def _in_folder(folder: str, unreadable: list[str]) -> Iterator[Entry]:
    is_empty = True
    for path in walk(Path(folder), unreadable):
        if NAMES.fullmatch(path):
            is_empty = False
            yield _file(folder, path)
    if is_empty:
        advice = "; give its wav.scp" if is_kaldi_directory(folder) else ""
        raise ValueError(f"{folder}: no recordings (wav, flac, mp3, m4a, ...) in this folder{advice}")


def _in_scp(path: str) -> Iterator[Entry]:
    _require_text(path)
    files = dict[str, str]()
    for name, (number, recording) in read_scp(path, "list").items():
        if not recording.is_whole:
            raise ValueError(f"{path}:{number}: {recording}: only whole recordings are read")
        files[name] = recording.path
    start, _ = _reading(path, files.values(), [str])
    for name, file in files.items():
        yield name, _file(start, file)[1], ""


def _in_list(path: str) -> Iterator[Entry]:
    _require_text(path)
    start, file_of = _reading(path, read_lines(path, "list"), [Line.name, _second])
    known: dict[str, str] = {}  # one string object per speaker, however many lines name it
    for line in read_lines(path, "list"):
        if file_of is not _second:
            yield _file(start, line.name())
            continue
        speaker, file = line.pair()
        if not file:
            raise ValueError(f'{path}:{line.number}: expected "speaker path", got 1 field')
        yield *_file(start, file)[:2], known.setdefault(speaker, speaker)


def _second(line: Line) -> str:
    """A line `speaker path` -> the path."""
    return line.pair()[1]


def _reading(
    path: str, lines: Iterable[T], parsers: Sequence[Callable[[T], str]]
) -> tuple[str, Callable[[T], str]]:
    """List, its lines, ways to find a path in a line -> where relative paths start, the right way."""
    starts = ("", os.path.dirname(path))  # noqa: PTH120
    for line in lines:
        for start in starts:
            for parse in parsers:
                file = parse(line)
                if file and is_file(start, file):
                    return start, parse
    raise ValueError(
        f"{path}: no line names a file that is there; relative paths start at the working folder or at "
        f"{starts[1] or 'the list'}; lines are `path` or `speaker path`, in .scp `utterance path`"
    )


def _require_text(path: str) -> None:
    """Raises ValueError for what isn't a file: opening a FIFO waits for a writer."""
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        raise ValueError(f"{path}: not a file; expected a list of recordings")
