"""The user's own recordings, --from: a folder of them, a train list or a Kaldi directory."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from audio.any_format import NAMES
from audio.kaldi import is_kaldi_directory
from audio.lists import read_utterances
from audio.recording import FORMATS
from preparation.convert import Job
from preparation.lists import Utterances, session_of, speaker_part
from preparation.speakers import Place, name_speakers
from preparation.tree import unreadable
from storage.files import walk

CONVERTED = "converted"  # folder under --save_path that --convert writes to


class Source(NamedTuple):
    """Recordings, the folder that their paths are relative to, and messages about those left out."""

    start: Path
    utterances: Utterances
    messages: list[str]


def to_convert(save_path: Path, source: Path, suffix: str) -> list[Job]:
    """Recordings of any format under source -> jobs that convert them into save_path/converted.

    Raises:
        ValueError: no folder, no recordings in it, or save_path is inside it.
    """
    if not source.is_dir():
        raise ValueError(f"--from {source}: --convert takes a folder of recordings")
    target = save_path / CONVERTED
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"--save_path {save_path} is inside --from {source}; give a folder outside of it")
    paths = [path for path in walk(source) if NAMES.fullmatch(path)]
    if not paths:
        raise ValueError(f"--from {source}: no recordings to convert")
    return [Job(source / path, (target / path).with_suffix(f".{suffix}")) for path in paths]


def is_list(source: Path) -> bool:
    """Whether --from is a list or a Kaldi directory, whose paths may start anywhere."""
    return source.is_file() or is_kaldi_directory(str(source))


def read_source(source: Path, start: Path | None = None, speaker_folder: Place | None = None) -> Source:
    """--from: a folder of recordings, a Kaldi directory or a train list -> its utterances, by path.

    speaker_folder: what names the speaker in the paths of a folder; None = its first folder.

    Raises:
        FileNotFoundError, ValueError: no such source, no recordings, unclear speakers, or one file of two.
    """
    if is_list(source):
        return Source(start or Path(), _with_sessions(_listed(source)), [])
    paths, messages = _recordings(source)
    try:
        named, doubts = name_speakers(paths, speaker_folder)
    except ValueError as error:
        raise ValueError("; ".join([f"{source}: {error}", *messages])) from None
    _check_formats(source, named)
    return Source(source, _with_sessions((path, *where) for path, where in named.items()), doubts + messages)


def _recordings(source: Path) -> tuple[list[str], list[str]]:
    """Folder -> paths of the recordings that training reads, messages about others.

    Raises:
        ValueError: no such recording.
    """
    paths: list[str] = []
    others: Counter[str] = Counter()
    num_tars = 0
    locked: list[str] = []
    for path in walk(source, locked):
        if FORMATS.fullmatch(path):
            paths.append(path)
        elif NAMES.fullmatch(path):
            others[path.rpartition(".")[2].lower()] += 1
        else:
            num_tars += path.lower().endswith(".tar")
    messages = [f"skipped: {n} {suffix} files; --convert takes them" for suffix, n in sorted(others.items())]
    if num_tars:
        messages.append(f"skipped: {num_tars} tar files; --index takes them")
    if locked:
        messages.append(f"skipped: {unreadable(locked)}")
    if not paths:
        raise ValueError("; ".join([f"{source}: no wav, flac, ogg, opus or mp3 files", *messages]))
    return paths, messages


def _listed(source: Path) -> Iterator[tuple[str, str, int]]:
    """List -> path, speaker and part of the path that is the speaker's, of each recording once.

    Where no folder is called like the speaker, the part is the file's.
    """
    known: dict[str, str] = {}  # path without . and .. -> speaker
    spelled: dict[str, str] = {}  # the same -> path, where they differ
    names: dict[str, str] = {}  # one string object per speaker, however many lines name it
    for file, number, speaker, path, segment in read_utterances(str(source), "--from"):
        if segment is not None:
            raise ValueError(
                f"{file}:{number}: lists of paths can't hold segments or channels of recordings; give "
                f"it to trainSpeakerNet.py --train_list {source}"
            )
        speaker = names.setdefault(speaker, speaker)
        plain = os.path.normpath(path)
        if plain != path and plain not in known:
            spelled[plain] = path
        other = known.setdefault(plain, speaker)
        if other != speaker:
            raise ValueError(
                f"{file}:{number}: {path} is listed under {speaker}, and under {other} in an earlier line"
            )
    for plain, speaker in known.items():
        path = spelled.get(plain, plain)
        yield path, speaker, speaker_part(path, speaker)


def _check_formats(source: Path, paths: Iterable[str]) -> None:
    """Raises ValueError for a recording in two formats."""
    stems: dict[str, str] = {}
    for path in paths:
        if (other := stems.setdefault(path.rpartition(".")[0], path)) != path:
            raise ValueError(f"{source}: {other} and {path} look like one recording twice; keep one of them")


def _with_sessions(recordings: Iterable[tuple[str, str, int]]) -> Utterances:
    """Path, speaker and part of the path that is the speaker's, of each -> utterances, by path."""
    utterances = Utterances([], [], [])
    names: dict[str, str] = {}  # one string object per session, and no tuples, for lists of millions
    for path, speaker, part in recordings:
        session = session_of(path, part)
        utterances.paths.append(path)
        utterances.speakers.append(speaker)
        utterances.sessions.append(names.setdefault(session, session))
    return utterances.take(sorted(range(len(utterances.paths)), key=utterances.paths.__getitem__))
