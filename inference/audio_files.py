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


class Entry(NamedTuple):
    """A recording as an argument names it."""

    path: str
    name: str
    speaker: str  # "" if it isn't known


class AudioFiles(NamedTuple):
    """Recordings in the order in which they are named, each once."""

    paths: Paths
    names: Paths  # the path, or the utterance's name in wav.scp
    speakers: Paths  # "" where no list names one
    num_repeated: int  # how many were named again, and left out
    unreadable: list[str]  # folders that can't be read, and so were left out


def files_of(arguments: Iterable[str]) -> AudioFiles:
    """Recordings, folders of them and lists -> the recordings; only those of lists are looked for.

    A folder is searched for names of recordings of any format. A list is a text file .txt or .lst with one
    path or `speaker path` in each line, or a Kaldi wav.scp of `utterance path` lines. The first line that
    names a file decides for the whole list which of the two its lines are, and where relative paths start: at
    the working folder, otherwise at the list's folder. Anything else is a recording, also "-", standard input.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder without recordings, a list of which no line names a file, a line without a path,
            or a recording of two speakers.
    """
    unreadable = list[str]()
    entries: dict[str, Entry] = {}
    num_entries = 0
    for argument in arguments:
        for entry in _entries(argument, unreadable):
            num_entries += 1
            key = _key(entry)
            first = entries.setdefault(key, entry)
            if entry.speaker and not first.speaker:
                entries[key] = first._replace(speaker=entry.speaker)
            elif entry.speaker and entry.speaker != first.speaker:
                raise ValueError(
                    f"{argument}: {entry.path} is listed under {first.speaker} and {entry.speaker}"
                )
    columns = zip(*entries.values(), strict=True) if entries else ((), (), ())
    paths, names, speakers = map(Paths.of, columns)
    return AudioFiles(paths, names, speakers, num_entries - len(entries), unreadable)


def _key(entry: Entry) -> str:
    """What two entries for one recording share: the path without `./` and repeated slashes, and a name."""
    path = entry.path
    if "./" in path or "//" in path:
        path = "/".join(part for part in path.split("/") if part not in ("", ".")) + "/" * path.startswith(
            "/"
        )
    return path if entry.name == entry.path else f"{path}\0{entry.name}"


def _entries(argument: str, unreadable: list[str]) -> Iterator[Entry]:
    """File, folder or list -> its recordings; folders that can't be read are added to `unreadable`."""
    if os.path.isdir(argument):  # noqa: PTH112  (Path.is_dir raises for some names)
        yield from _in_folder(argument, unreadable)
    elif argument.lower().endswith(KALDI):
        yield from _in_scp(argument)
    elif argument.lower().endswith(LISTS):
        yield from _in_list(argument)
    else:
        yield Entry(argument, argument, "")


def _in_folder(folder: str, unreadable: list[str]) -> Iterator[Entry]:
    is_empty = True
    for path in walk(Path(folder), unreadable):
        if NAMES.fullmatch(path):
            is_empty = False
            place = os.path.join(folder, path)  # noqa: PTH118  (Path is 4 times as slow)
            yield Entry(place, place, "")
    if is_empty:
        advice = "; give its wav.scp" if is_kaldi_directory(folder) else ""
        raise ValueError(f"{folder}: no recordings (wav, flac, mp3, m4a, ...) in this folder{advice}")


def _in_scp(path: str) -> Iterator[Entry]:
    _require_text(path)
    files = {name: file for name, (_, file) in read_scp(path, "list").items()}
    start, _ = _reading(path, files.values(), [str])
    for name, file in files.items():
        yield Entry(os.path.join(start, file), name, "")  # noqa: PTH118


def _in_list(path: str) -> Iterator[Entry]:
    _require_text(path)
    start, file_of = _reading(path, read_lines(path, "list"), [Line.name, _second])
    for line in read_lines(path, "list"):
        file = file_of(line)
        if not file:
            raise ValueError(f'{path}:{line.number}: expected "speaker path", got 1 field')
        place = os.path.join(start, file)  # noqa: PTH118  (Path is 4 times as slow)
        yield Entry(place, place, line.pair()[0] if file_of is _second else "")


def _second(line: Line) -> str:
    """A line `speaker path` -> the path."""
    return line.pair()[1]


def _reading(
    path: str, lines: Iterable[T], parsers: Sequence[Callable[[T], str]]
) -> tuple[str, Callable[[T], str]]:
    """List, its lines, ways to find a path in a line -> where relative paths start, and which way is right."""
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
