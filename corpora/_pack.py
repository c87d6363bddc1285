"""A list's recordings as arrays of 16-bit samples, memory-mapped, so that a crop is one slice.

A pack is a folder: shards `0000.npy`, `0001.npy`, ... (one-dimensional NumPy arrays) and `index.tsv` with a
line `path shard start length crc32` for each recording. Adding recordings adds a shard.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
from tqdm import tqdm

from audio import SAMPLE_RATE, AudioError, AudioFile, Samples, to_int16
from files import write_text

FILES_AT_ONCE = 16  # that a process is given


class Entry(NamedTuple):
    """Where a recording lies."""

    shard: int
    start: int  # samples
    length: int  # samples
    crc32: int


class Pack:
    """An existing pack, read by the paths that its lists name."""

    def __init__(self, folder: Path) -> None:
        """Read the index; raises ValueError or FileNotFoundError if it isn't whole."""
        self.folder = folder
        try:
            lines = (folder / "index.tsv").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise FileNotFoundError(f"{folder}: no pack; make one with dataprep.py --pack") from None
        self.entries: dict[str, Entry] = {}
        for number, line in enumerate(lines, 1):
            path, *fields = line.split("\t")
            if len(fields) != 4 or not all(field.isdigit() for field in fields):
                raise ValueError(f"{folder}/index.tsv:{number}: expected path, shard, start, length, crc32")
            self.entries[path] = Entry(*map(int, fields))
        self.num_shards = 1 + max((entry.shard for entry in self.entries.values()), default=-1)
        self._shards: dict[int, Samples] = {}

    def samples(self, path: str) -> Samples:
        """Path as in the lists -> its samples (T,), a view of the file."""
        entry = self.entries[path]
        return self._shard(entry.shard)[entry.start : entry.start + entry.length]

    def _shard(self, number: int) -> Samples:
        if number not in self._shards:
            path = shard_path(self.folder, number)
            try:
                self._shards[number] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ValueError(f"{path}: missing or damaged: {error}") from None
        return self._shards[number]

    def verify(self) -> list[str]:
        """Paths whose samples are not those that were packed."""
        progress = tqdm(self.entries.items(), "verifying", unit="file", disable=None, leave=False)
        return [path for path, entry in progress if not self._is_whole(path, entry)]

    def _is_whole(self, path: str, entry: Entry) -> bool:
        samples = self.samples(path)
        return len(samples) == entry.length and zlib.crc32(samples.tobytes()) == entry.crc32


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"{number:04d}.npy"


def write_pack(root: Path, paths: Sequence[str], folder: Path, workers: int = 0) -> int:
    """Recordings under root -> a pack in folder, or what it lacks added to it -> how many were added.

    Raises:
        AudioError: a file can't be read, or isn't 16 kHz mono; nothing is written then.
    """
    known = Pack(folder).entries if (folder / "index.tsv").exists() else {}
    wanted = [path for path in dict.fromkeys(paths) if path not in known]
    if not wanted:
        return 0
    workers = workers or os.cpu_count() or 1
    lengths = _each(_length, root, wanted, workers, "measuring")
    starts = np.concatenate([[0], np.cumsum(lengths)])
    number = 1 + max((entry.shard for entry in known.values()), default=-1)
    folder.mkdir(parents=True, exist_ok=True)
    target = shard_path(folder, number)
    temporary = target.with_suffix(".tmp")  # overwritten by the next try if this one is killed
    array = np.lib.format.open_memmap(temporary, "w+", np.int16, (int(starts[-1]),))
    del array
    places = [(str(temporary), int(start), int(n)) for start, n in zip(starts, lengths, strict=False)]
    sums = _each(_store, root, wanted, workers, "packing", places)
    temporary.replace(target)
    added = {
        path: Entry(number, int(start), int(length), crc32)
        for path, start, length, crc32 in zip(wanted, starts, lengths, sums, strict=False)
    }
    lines = ("\t".join([path, *map(str, entry)]) + "\n" for path, entry in (known | added).items())
    write_text(folder / "index.tsv", "".join(lines))
    return len(wanted)


def _each(
    work: Callable[..., int], root: Path, paths: list[str], workers: int, name: str, *more: Iterable[Any]
) -> list[int]:
    """Call work(root, path, ...) for every path in so many processes -> its results, in order."""
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(work, repeat(root), paths, *more, chunksize=FILES_AT_ONCE)
        return list(tqdm(results, name, len(paths), unit="file", disable=None, leave=False))


def _length(root: Path, path: str) -> int:
    """Samples of a recording, which must be 16 kHz mono."""
    audio = AudioFile(str(root / path))
    if audio.rate != SAMPLE_RATE or audio.file.channels != 1:
        raise AudioError(
            f"{root / path}: {audio.rate} Hz, {audio.file.channels} channels; a pack holds {SAMPLE_RATE} Hz "
            "mono: use dataprep.py --convert first"
        )
    return int(audio.num_frames)


def _store(root: Path, path: str, place: tuple[str, int, int]) -> int:
    """Decode a recording into its place of the shard -> checksum of its samples."""
    file, start, length = place
    samples = read_int16(str(root / path))
    if len(samples) != length:
        raise AudioError(f"{root / path}: truncated: {len(samples)} of {length} samples could be read")
    np.load(file, mmap_mode="r+")[start : start + length] = samples
    return zlib.crc32(samples.tobytes())


def read_int16(path: str) -> Samples:
    """16 kHz mono file -> its samples (T,); exact for 16-bit files, rounded and clipped for others."""
    with soundfile.SoundFile(path) as file:
        if file.subtype == "PCM_16":
            return file.read(dtype="int16")
    return to_int16(AudioFile(path).whole())
