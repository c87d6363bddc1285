"""--pack: the recordings of a list as arrays of 16-bit samples, memory-mapped, so that a crop is one slice.

audio.pack.Pack documents the layout and reads it. Adding recordings adds shards.
"""

import errno
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audio.errors import AudioError
from audio.file_status import stat_of
from audio.pack import Pack
from audio.recording import SAMPLE_RATE, AudioFile, Samples
from audio.recordings import Recordings
from audio.streams import require_one_stream
from audio.utterances import Paths
from preparation.workers import in_processes
from storage.files import written_whole

SHARD_SAMPLES = 1 << 30  # 2 GiB in a file: copied in minutes, and lost work if a command is killed


def damaged(pack: Pack) -> list[str]:
    """Pack -> paths whose samples differ from those that were packed."""
    progress = tqdm(range(len(pack.paths)), "verifying", unit="file", disable=None, leave=False)
    return [pack.paths[row] for row in progress if not _is_whole(pack.samples(row), *pack.places[row, 2:4])]


def _is_whole(samples: Samples, length: int, crc32: int) -> bool:
    return len(samples) == length and zlib.crc32(samples.tobytes()) == crc32


def open_pack(folder: Path) -> Pack | None:
    """Folder -> the pack in it, or None."""
    return Pack(folder) if (folder / Pack.INDEX).exists() else None


def verified(folder: Path) -> Pack:
    """Folder -> the pack in it; raises ValueError if samples of it are damaged."""
    pack = Pack(folder)
    if wrong := damaged(pack):
        raise ValueError(
            f"{folder}: {wrong[0]} and {len(wrong) - 1} more are damaged; delete the folder and pack again"
        )
    return pack


def missing(root: Path, paths: Sequence[str], pack: Pack | None, folder: Path) -> list[str]:
    """Recordings under root -> those that a pack in the folder lacks, each once.

    Raises:
        ValueError: a file has changed since it was packed.
    """
    known = set(pack.paths) if pack else set()
    if pack and (path := _changed(pack, root, known.intersection(paths))):
        raise ValueError(f"{root / path}: changed since it was packed; delete {folder} and pack again")
    return [path for path in dict.fromkeys(paths) if path not in known]


def write_pack(root: Path, paths: Sequence[str], folder: Path, workers: int = 0) -> int:
    """Write a pack of recordings under root, or add those that it lacks -> number of recordings added.

    The index is written after each shard, so that a command that was stopped goes on with the next one.

    Raises:
        AudioError: a file can't be read, or isn't 16 kHz mono.
        ValueError: a file has changed since it was packed.
    """
    pack = open_pack(folder)
    wanted = missing(root, paths, pack, folder)
    if not wanted:
        return 0
    recordings = Recordings(str(root), wanted)
    files = [recordings.file(number) for number in range(len(wanted))]
    measured = np.array(in_processes(partial(map, _measure), files, workers, "measuring"))
    lengths, sources = measured[:, 0], measured[:, 1:]
    packed = list(pack.paths) if pack else []
    places = pack.places if pack else np.empty((0, Pack.COLUMNS), np.int64)
    number = pack.num_shards if pack else 0
    _require_space(folder / f"{number:04d}.npy", int(lengths.sum()))
    for shard in _shards(lengths):
        stored = _write_shard(folder / f"{number:04d}.npy", files[shard], lengths[shard], workers)
        packed += wanted[shard]
        added = [np.full(len(stored), number), stored, sources[shard]]
        places = np.concatenate([places, np.column_stack(added)])
        write_index(folder, packed, places, pack.names if pack else ())
        number += 1
    return len(wanted)


def _shards(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """Lengths of recordings in samples -> slices of them that make a shard."""
    begin, total = 0, 0
    for number, length in enumerate(lengths.tolist()):
        if total and total + length > SHARD_SAMPLES:
            yield slice(begin, number)
            begin, total = number, 0
        total += length
    yield slice(begin, len(lengths))


def _write_shard(
    target: Path, files: Sequence[str], lengths: NDArray[np.int64], workers: int
) -> NDArray[np.int64]:
    """Store recordings of known lengths (n,) in a new shard -> start, length and CRC-32 of each (n, 3)."""
    starts = np.cumsum(lengths) - lengths
    slices = list(zip(files, starts.tolist(), lengths.tolist(), strict=True))
    with _new_shard(target, int(lengths.sum())) as shard:
        sums = in_processes(partial(map, partial(_store, shard)), slices, workers, "packing")
    return np.column_stack([starts, lengths, sums])


def _require_space(target: Path, length: int) -> None:
    """Raises OSError unless there is space for `length` samples."""
    target.parent.mkdir(parents=True, exist_ok=True)
    needed, free = 2 * length, shutil.disk_usage(target.parent).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free", str(target))


@contextmanager
def _new_shard(target: Path, length: int) -> Iterator[Path]:
    """Temporary file for `length` samples, renamed to target at the end."""
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


def write_index(folder: Path, paths: Sequence[str], places: NDArray[np.int64], names: Sequence[str]) -> None:
    """Write the index of a pack; names: of its first shards, where they aren't those of their numbers."""
    compact = Paths.of(paths)
    arrays: dict[str, Any] = {"text": compact.text, "ends": compact.ends, "places": places}
    if names:
        shards = Paths.of(names)
        arrays |= {"shard_text": shards.text, "shard_ends": shards.ends}
    with written_whole(folder / Pack.INDEX) as stream:
        np.savez(stream, **arrays)


def _changed(pack: Pack, root: Path, listed: set[str]) -> str | None:
    """The first of the listed recordings whose file exists and has changed since it was packed."""
    recordings = Recordings(str(root), pack.paths)
    for number, (path, *source) in enumerate(zip(pack.paths, *pack.places[:, 4:].T.tolist(), strict=True)):
        with suppress(FileNotFoundError):
            if path in listed and source != _source(recordings.file(number)):
                return path
    return None


def _source(file: str) -> list[int]:
    """Size of a file in bytes, or of the tar that it is in, time of its last change in ns."""
    status = stat_of(file)
    return [status.st_size, status.st_mtime_ns]


def _measure(file: str) -> list[int]:
    """16 kHz mono recording -> number of samples, size and time of its file; AudioError for others."""
    audio = AudioFile(file)
    require_one_stream(file)
    if audio.rate != SAMPLE_RATE or audio.file.channels != 1:
        raise AudioError(
            f"{file}: {audio.rate} Hz, {audio.file.channels} channels; a pack holds {SAMPLE_RATE} Hz "
            "mono: use dataprep.py --convert first"
        )
    return [audio.num_frames, *_source(file)]


def _store(shard: Path, place: tuple[str, int, int]) -> int:
    """Decode a recording (file, start, length) into its part of the shard -> CRC-32 of its samples."""
    file, start, length = place
    samples = AudioFile(file).whole_int16()
    if len(samples) != length:
        raise AudioError(f"{file}: truncated: {len(samples)} of {length} samples could be read")
    content = samples.tobytes()
    with shard.open("r+b") as stream:  # on a full disk, writing to a memory map would kill the process
        stream.seek(np.load(shard, mmap_mode="r").offset + samples.itemsize * start)
        stream.write(content)
    return zlib.crc32(content)
