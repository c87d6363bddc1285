"""--index: where the recordings in tar files are, and the train list of them; audio.tars reads them there.

A tar holds samples, `key.wav` (flac, ogg, opus, mp3) and `key.spk` or `key.json`, the members of a sample one
after another, as WebDataset and wespeaker's make_shard_list.py write them. Nothing is extracted: names of
members are only names.
"""

import json
import os
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from audio.recording import FORMATS
from audio.tars import TarIndex
from audio.utterances import Paths
from preparation.generate import TRAIN, SavedLists
from preparation.lists import write_rows
from preparation.members import READER_ERRORS, StrictHeader, tar_headers
from preparation.tree import unreadable
from preparation.workers import in_processes
from storage.files import walk, written_whole

SPEAKER_FIELDS = ("spk", "speaker", "spk_id", "speaker_id")  # of a sample's .json
TEXTS = (".spk", ".json")  # members that may name the speaker
LONGEST_TEXT = 1 << 20  # bytes of one
BLOCK = 1 << 20  # bytes that are read at a time
COMPRESSED = re.compile(r".+\.(tgz|tbz2?|txz|tzst|tar\.(gz|bz2|xz|zst|lz4))", re.IGNORECASE)
MAGIC = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18")  # of compressed files
DECOMPRESS = "compressed, so that nothing in it can be read alone; decompress it and remove this one"


class Member(NamedTuple):
    """A file in a tar."""

    name: str
    begin: int  # its first byte in the tar
    size: int  # bytes
    text: bytes | None  # of a .spk or .json

    @property
    def key(self) -> str:
        """What the members of a sample have in common: the name without its suffix."""
        return os.path.splitext(self.name)[0]  # noqa: PTH122  (only a name)

    @property
    def suffix(self) -> str:
        """The rest of its name, such as `.wav`."""
        return os.path.splitext(self.name)[1].lower()  # noqa: PTH122


@dataclass
class Contents:
    """The recordings in a tar, as columns because there may be ten million."""

    stamp: tuple[int, int]  # size of the tar in bytes, time of its last change in ns
    text: bytearray = field(default_factory=bytearray)  # of their Paths
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))  # first byte and size of each
    labels: "array[int]" = field(default_factory=lambda: array("q"))
    speakers: dict[str, int] = field(default_factory=dict)  # name -> label
    skipped: Counter[str] = field(default_factory=Counter)  # what isn't used -> how often it is there

    def add(self, path: str, member: Member, speaker: str) -> None:
        """Append a recording."""
        self.text += path.encode()
        self.ends.append(len(self.text))
        self.places.extend((member.begin, member.size))
        self.labels.append(self.speakers.setdefault(speaker, len(self.speakers)))

    def paths(self) -> Paths:
        """The paths of the recordings."""
        return Paths(np.frombuffer(self.text, np.uint8), np.frombuffer(self.ends, np.int64))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Speaker and path of each recording."""
        names = list(self.speakers)
        yield from zip((names[label] for label in self.labels), self.paths(), strict=True)


def index_tars(folder: Path, save_path: Path, workers: int) -> SavedLists:
    """Folder of tars -> its index, written into it, and the train list under save_path.

    Raises:
        FileNotFoundError, OSError, ValueError: no tar, one that isn't whole or is compressed, a sample that
            hasn't one recording and one speaker, or another train list is there. Tar and member are named.
    """
    tars, messages = find_tars(folder)
    contents = in_processes(partial(map, partial(read_tar, folder)), tars, workers, "indexing")
    skipped = sum((each.skipped for each in contents), Counter[str]())
    messages += [f"skipped: {count} {what}" for what, count in sorted(skipped.items())]
    nothing = f"{folder}: no wav, flac, ogg, opus or mp3 in its tar files"
    rows = (row for each in contents for row in each.rows())
    train_list = save_path / TRAIN
    count = write_rows(train_list, rows, "; ".join([nothing, *messages]))
    _write(folder / TarIndex.INDEX, tars, contents)
    speakers = set[str]().union(*(each.speakers for each in contents))
    messages.insert(0, f"{train_list}: {count} recordings of {len(speakers)} speakers in {len(tars)} tars")
    messages.insert(1, f"{folder / TarIndex.INDEX}: where they are; give --train_path {folder}")
    return SavedLists(train_list, folder, None, folder, messages)


def _write(file: Path, tars: Sequence[str], contents: Sequence[Contents]) -> None:
    """Write the index of tars; audio.tars.TarIndex says what is in it."""
    paths = [each.paths() for each in contents]
    before = np.cumsum([0, *(len(each.text) for each in paths)])
    places = [np.frombuffer(each.places, np.int64).reshape(-1, 2) for each in contents]
    names = Paths.of(tars)
    with written_whole(file) as stream:
        np.savez(
            stream,
            text=np.concatenate([each.text for each in paths]),
            ends=np.concatenate([each.ends + start for each, start in zip(paths, before, strict=False)]),
            places=np.concatenate([np.insert(each, 0, tar, axis=1) for tar, each in enumerate(places)]),
            tar_text=names.text,
            tar_ends=names.ends,
            stamps=np.array([each.stamp for each in contents], np.int64),
        )


def find_tars(folder: Path) -> tuple[list[str], list[str]]:
    """Folder -> paths of the tars in it, messages about folders that can't be read.

    Raises:
        ValueError, FileNotFoundError: it isn't a folder, has none, or has compressed ones.
    """
    if not folder.is_dir():
        raise ValueError(f"--from {folder}: --index takes a folder of tar files")
    locked: list[str] = []
    files = list(walk(folder, locked))
    if compressed := next(filter(COMPRESSED.fullmatch, files), None):
        raise ValueError(f"{folder / compressed}: {DECOMPRESS}")
    tars = [file for file in files if file.lower().endswith(".tar")]
    if not tars:
        raise FileNotFoundError(f"--from {folder}: no tar files; expected .tar files of samples")
    return tars, [f"skipped: {unreadable(locked)}"] if locked else []


def read_tar(folder: Path, name: str) -> Contents:
    """Folder, path of a tar in it -> the recordings in the tar; see index_tars."""
    file = folder / name
    with _errors_on_one_line(file), file.open("rb") as stream:
        status = file.stat()
        contents = Contents((status.st_size, status.st_mtime_ns))
        if stream.peek(len(MAGIC)).startswith(MAGIC):
            raise ValueError(DECOMPRESS)
        keys = array("q")  # hashes of them: strings would take ten times as much memory
        for key, sample in groupby(_members(stream), attrgetter("key")):
            keys.append(hash(key))
            _add(contents, name, list(sample))
        _require_distinct(np.frombuffer(keys, np.int64), stream)
    return contents


@contextmanager
def _errors_on_one_line(file: Path) -> Iterator[None]:
    """Errors about a tar -> one line that names it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(file)) from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _members(stream: BinaryIO) -> Iterator[Member]:
    """Tar -> the files in it, in their order; raises ValueError for damage, links and the like."""
    name = ""
    stream.seek(0)
    try:
        with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", tarinfo=StrictHeader) as archive:
            for info in tar_headers(archive):
                if info.isdir():
                    continue
                name = info.name.removeprefix("./")
                text = None
                if name.lower().endswith(TEXTS):
                    if info.size > LONGEST_TEXT:
                        raise ValueError(f"{name}: {info.size} bytes, expected a speaker's name or JSON")
                    stream.seek(info.offset_data)
                    text = stream.read(info.size)
                yield Member(name, info.offset_data, info.size, text)
            _require_end(stream, archive.offset)
    except READER_ERRORS as error:
        place = f"after {name}" if name else "at its start"
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"damaged, truncated or not a tar, {place}: {reason}; copy it again") from None


def _require_end(stream: BinaryIO, place: int) -> None:
    """Raises ValueError unless only zeros follow the place where a tar ends."""
    stream.seek(place)
    while block := stream.read(BLOCK):
        if block.count(0) < len(block):
            raise ValueError("goes on after its end, like tars that were joined by cat; split it again")


def _require_distinct(keys: NDArray[np.int64], stream: BinaryIO) -> None:
    """Hashes of the keys of samples, their tar -> raises ValueError if a key is there twice."""
    hashes, counts = np.unique(keys, return_counts=True)
    suspected = set(hashes[counts > 1].tolist())
    known = set[str]()
    for key, _ in groupby(_members(stream), attrgetter("key")) if suspected else ():
        if key in known:
            raise ValueError(f"{key}: a second sample of this name, or its members aren't one after another")
        if hash(key) in suspected:
            known.add(key)


def _add(contents: Contents, tar: str, sample: Sequence[Member]) -> None:
    """Append a sample to what a tar holds; raises ValueError unless it has one recording and one speaker."""
    recordings = [member for member in sample if FORMATS.fullmatch(member.name)]
    others = (member for member in sample if member.text is None and member not in recordings)
    contents.skipped.update(f"members {member.suffix or 'without suffix'}" for member in others)
    if not recordings:
        contents.skipped["samples without a recording"] += 1
        return
    name = recordings[0].name
    if len(recordings) > 1:
        raise ValueError(
            f"{name}: expected one recording in a sample, but there is {recordings[1].name}, too"
        )
    speakers = sorted({speaker for member in sample for speaker in _speakers(member)})
    if not speakers:
        fields = ", ".join(SPEAKER_FIELDS)
        stem = sample[0].key
        raise ValueError(f"{name}: no speaker; expected {stem}.spk, or {stem}.json with {fields}")
    if len(speakers) > 1:
        raise ValueError(f"{name}: has two speakers, {speakers[0]} and {speakers[1]}")
    for text in (path := f"{tar}/{name}", speakers[0]):
        if not text.isprintable() or text != text.strip():
            raise ValueError(
                f"{name}: no list can hold {text!r}: it has blanks at an end, or isn't UTF-8 text"
            )
    contents.add(path, recordings[0], speakers[0])


def _speakers(member: Member) -> Iterator[str]:
    """Member of a sample -> the speakers that it names; raises ValueError if it can't be read."""
    if member.text is None:
        return
    try:
        text = member.text.decode("utf-8-sig")
        entries = {"spk": text.strip()} if member.suffix == ".spk" else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{member.name}: {error}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"{member.name}: expected a JSON object with {', '.join(SPEAKER_FIELDS)}")
    for name in filter(entries.__contains__, SPEAKER_FIELDS):
        value = entries[name]
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise ValueError(f"{member.name}: {name} is {json.dumps(value)[:60]}, expected a text or number")
        if value != "":
            yield str(value)
