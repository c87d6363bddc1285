"""A list's recordings as arrays of 16-bit samples, memory-mapped, so that a crop is one slice.

audio.Pack says how a pack is laid out and reads it. Adding recordings adds a shard.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from audio import SAMPLE_RATE, AudioError, AudioFile, Pack, Samples, to_int16
from files import Paths, written_whole

FILES_AT_ONCE = 16  # that a process is given


def damaged(pack: Pack) -> list[str]:
    """Paths of a pack whose samples are not those that were packed."""
    progress = tqdm(range(len(pack.paths)), "verifying", unit="file", disable=None, leave=False)
    return [pack.paths[row] for row in progress if not _is_whole(pack.samples(row), *pack.places[row, 2:])]


def _is_whole(samples: Samples, length: int, crc32: int) -> bool:
    return len(samples) == length and zlib.crc32(samples.tobytes()) == crc32


def write_pack(root: Path, paths: Sequence[str], folder: Path, workers: int = 0) -> int:
    """Recordings under root -> a pack in folder, or what it lacks added to it -> how many were added.

    Raises:
        AudioError: a file can't be read, or isn't 16 kHz mono; nothing is written then.
    """
    pack = Pack(folder) if (folder / Pack.INDEX).exists() else None
    known = set(pack.paths) if pack else set()
    wanted = [path for path in dict.fromkeys(paths) if path not in known]
    if not wanted:
        return 0
    workers = workers or os.cpu_count() or 1
    lengths = np.array(_each(_length, root, wanted, workers, "measuring"))
    starts = np.cumsum(lengths) - lengths
    number = 1 + int(pack.places[:, 0].max()) if pack else 0
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{number:04d}.npy"
    temporary = target.with_suffix(".tmp")  # overwritten by the next try if this one is killed
    array = np.lib.format.open_memmap(temporary, "w+", np.int16, (int(lengths.sum()),))
    del array
    slices = [(str(temporary), *each) for each in zip(starts.tolist(), lengths.tolist(), strict=True)]
    sums = _each(_store, root, wanted, workers, "packing", slices)
    temporary.replace(target)
    places = np.stack([np.full(len(wanted), number), starts, lengths, sums], axis=1)
    _write_index(folder, [*(pack.paths if pack else ()), *wanted], [*([pack.places] if pack else ()), places])
    return len(wanted)


def _write_index(folder: Path, paths: Sequence[str], places: Sequence[NDArray[np.int64]]) -> None:
    compact = Paths.of(paths)
    with written_whole(folder / Pack.INDEX) as stream:
        np.savez(stream, text=compact.text, ends=compact.ends, places=np.concatenate(places))


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
