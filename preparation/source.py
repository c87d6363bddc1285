"""The user's own recordings, --from: a tree `speaker/.../file`, a train list or a Kaldi directory."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from audio.lists import read_utterances
from audio.recording import FORMATS
from preparation.convert import Job
from preparation.lists import Utterances
from preparation.tree import OTHER, unreadable
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
    paths = [path for path in walk(source) if FORMATS.fullmatch(path) or OTHER.fullmatch(path)]
    if not paths:
        raise ValueError(f"--from {source}: no recordings to convert")
    return [Job(source / path, (target / path).with_suffix(f".{suffix}")) for path in paths]


def is_list(source: Path) -> bool:
    """Whether --from is a list or a Kaldi directory, whose paths may start anywhere."""
    return source.is_file() or (source / "wav.scp").exists()


def read_source(source: Path, start: Path | None = None) -> Source:
    """--from: a tree `speaker/.../file`, a Kaldi directory or a train list -> its utterances, by path.

    Raises:
        FileNotFoundError, ValueError: no such source, no recordings, or a recording of two speakers.
    """
    if is_list(source):
        return Source(start or Path(), _with_sessions(_listed(source)), [])
    paths: list[str] = []
    others: Counter[str] = Counter()
    locked: list[str] = []
    for path in walk(source, locked):
        if "/" in path and FORMATS.fullmatch(path):
            paths.append(path)
        elif "/" in path and OTHER.fullmatch(path):
            others[path.rpartition(".")[2].lower()] += 1
    messages = [f"skipped: {n} {suffix} files; --convert takes them" for suffix, n in sorted(others.items())]
    if locked:
        messages.append(f"skipped: {unreadable(locked)}")
    if not paths:
        formats = "no wav, flac, ogg, opus or mp3 files in folders of speakers (speaker/.../file)"
        raise ValueError("; ".join([f"{source}: {formats}", *messages]))
    _check_formats(source, paths)
    return Source(source, _with_sessions((path, path.partition("/")[0]) for path in paths), messages)


def _listed(source: Path) -> Iterable[tuple[str, str]]:
    """List -> path and speaker of each recording, without repetitions."""
    known: dict[str, tuple[str, str]] = {}
    for place, speaker, utterance in read_utterances(str(source), "--from"):
        if not utterance.is_whole:
            raise ValueError(
                f"{place}: lists of paths can't hold segments of recordings; give the directory itself to "
                f"trainSpeakerNet.py --train_list {source}"
            )
        path = utterance.path
        _, other = known.setdefault(os.path.normpath(path), (path, speaker))
        if other != speaker:
            raise ValueError(
                f"{place}: {path} is listed under {speaker}, and under {other} in an earlier line"
            )
    return known.values()


def _check_formats(source: Path, paths: list[str]) -> None:
    """Raises ValueError for a recording in two formats."""
    stems: dict[str, str] = {}
    for path in paths:
        if (other := stems.setdefault(path.rpartition(".")[0], path)) != path:
            raise ValueError(f"{source}: {other} and {path} look like one recording twice; keep one of them")


def _with_sessions(pairs: Iterable[tuple[str, str]]) -> Utterances:
    """Path and speaker of each -> utterances, by path."""
    rows = sorted((path, speaker, _session(path, speaker)) for path, speaker in pairs)
    return Utterances(*([row[i] for row in rows] for i in range(3)))


def _session(path: str, speaker: str) -> str:
    """Name of the folder below the speaker's folder; without a speaker's folder, the file's; "" = none."""
    *folders, _ = path.split("/")
    below = folders[folders.index(speaker) + 1 :] if speaker in folders else folders[-1:]
    return below[0] if below else ""
