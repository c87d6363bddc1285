"""--pack: the recordings of a list as arrays of 16-bit samples, memory-mapped, so that a crop is one slice.

audio.pack.Pack documents the layout and reads it. Adding recordings adds a shard.
"""

import errno
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audio.errors import AudioError
from audio.pack import Pack
from audio.recording import SAMPLE_RATE, AudioFile, Samples
from audio.streams import require_one_stream
from audio.utterances import Paths
from preparation.workers import in_processes
from storage.files import written_whole


def damaged(pack: Pack) -> list[str]:
    """Pack -> paths whose samples differ from those that were packed."""
    progress = tqdm(range(len(pack.paths)), "verifying", unit="file", disable=None, leave=False)
    return [pack.paths[row] for row in progress if not _is_whole(pack.samples(row), *pack.places[row, 2:4])]


def _is_whole(samples: Samples, length: int, crc32: int) -> bool:
    return len(samples) == length and zlib.crc32(samples.tobytes()) == crc32


def write_pack(root: Path, paths: Sequence[str], folder: Path, workers: int = 0) -> int:
    """Write a pack of recordings under root, or add those that it lacks -> number of recordings added.

    Raises:
        AudioError: a file can't be read, or isn't 16 kHz mono; nothing is written then.
        ValueError: a file has changed since it was packed.
    """
    pack = Pack(folder) if (folder / Pack.INDEX).exists() else None
    known = set(pack.paths) if pack else set()
    if pack and (path := _changed(pack, root, known.intersection(paths))):
        raise ValueError(f"{root / path}: changed since it was packed; delete {folder} and pack again")
    wanted = [path for path in dict.fromkeys(paths) if path not in known]
    if not wanted:
        return 0
    measured = np.array(in_processes(partial(map, partial(_measure, root)), wanted, workers, "measuring"))
    lengths, sources = measured[:, 0], measured[:, 1:]
    starts = np.cumsum(lengths) - lengths
    number = 1 + int(pack.places[:, 0].max()) if pack else 0
    slices = list(zip(wanted, starts.tolist(), lengths.tolist(), strict=True))
    with _new_shard(folder / f"{number:04d}.npy", int(lengths.sum())) as shard:
        sums = in_processes(partial(map, partial(_store, root, shard)), slices, workers, "packing")
    places = np.column_stack([np.full(len(wanted), number), starts, lengths, sums, sources])
    packed = wanted
    if pack:
        packed = [*pack.paths, *wanted]
        places = np.concatenate([pack.places, places])
    _write_index(folder, packed, places)
    return len(wanted)


@contextmanager
def _new_shard(target: Path, length: int) -> Iterator[Path]:
    """Temporary file for `length` samples, renamed to target at the end; OSError if there is no space."""
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 2 * length, shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free", str(target))
    temporary = target.with_suffix(".tmp")  # if this process is killed, the next one overwrites it
    try:
        np.lib.format.open_memmap(temporary, "w+", np.int16, (length,)).flush()
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_index(folder: Path, paths: Sequence[str], places: NDArray[np.int64]) -> None:
    compact = Paths.of(paths)
    with written_whole(folder / Pack.INDEX) as stream:
        np.savez(stream, text=compact.text, ends=compact.ends, places=places)


def _changed(pack: Pack, root: Path, listed: set[str]) -> str | None:
    """The first of the listed recordings whose file exists and has changed since it was packed."""
    for path, *source in zip(pack.paths, *pack.places[:, 4:].T.tolist(), strict=True):
        with suppress(FileNotFoundError):
            if path in listed and source != _source(root, path):
                return path
    return None


def _source(root: Path, path: str) -> list[int]:
    """Size of a file in bytes, time of its last change in ns."""
    status = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118  (Path is 4 times as slow)
    return [status.st_size, status.st_mtime_ns]


def _measure(root: Path, path: str) -> list[int]:
    """16 kHz mono recording -> number of samples, size and time of its file; AudioError for others."""
    audio = AudioFile(str(root / path))
    require_one_stream(audio.path)
    if audio.rate != SAMPLE_RATE or audio.file.channels != 1:
        raise AudioError(
            f"{root / path}: {audio.rate} Hz, {audio.file.channels} channels; a pack holds {SAMPLE_RATE} Hz "
            "mono: use dataprep.py --convert first"
        )
    return [audio.num_frames, *_source(root, path)]


def _store(root: Path, shard: Path, place: tuple[str, int, int]) -> int:
    """Decode a recording (path, start, length) into its part of the shard -> CRC-32 of its samples."""
    path, start, length = place
    samples = AudioFile(str(root / path)).whole_int16()
    if len(samples) != length:
        raise AudioError(f"{root / path}: truncated: {len(samples)} of {length} samples could be read")
    content = samples.tobytes()
    with shard.open("r+b") as stream:  # on a full disk, writing to a memory map would kill the process
        stream.seek(np.load(shard, mmap_mode="r").offset + samples.itemsize * start)
        stream.write(content)
    return zlib.crc32(content)
