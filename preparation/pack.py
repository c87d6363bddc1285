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

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from audio.errors import AudioError
from audio.pack import Pack
from audio.recording import SAMPLE_RATE, AudioFile, Samples
from audio.streams import require_one_stream
from audio.utterances import Paths
from preparation.parts import WHOLE, ListPart
from preparation.workers import in_processes
from storage.files import written_whole

SHARD_SAMPLES = 1 << 30  # 2 GiB in a file: copied in minutes, and lost work if a command is killed


def index_name(part: ListPart) -> str:
    """The index of what a command has packed: that of the pack if there are no other parts."""
    return Pack.INDEX if part == WHOLE else f"part-{part.number + 1}-of-{part.count}.partial.npz"


def finished_name(part: ListPart) -> str:
    """The index of a part of several that is whole and verified."""
    return f"part-{part.number + 1}-of-{part.count}.npz"


def damaged(pack: Pack) -> list[str]:
    """Pack -> paths whose samples differ from those that were packed."""
    progress = tqdm(range(len(pack.paths)), "verifying", unit="file", disable=None, leave=False)
    return [pack.paths[row] for row in progress if not _is_whole(pack.samples(row), *pack.places[row, 2:4])]


def _is_whole(samples: Samples, length: int, crc32: int) -> bool:
    return len(samples) == length and zlib.crc32(samples.tobytes()) == crc32


def pack_and_verify(
    root: Path, paths: Sequence[str], folder: Path, workers: int, part: ListPart
) -> list[str]:
    """Write a pack, or a part of it, and read it again -> messages; see write_pack.

    Raises:
        ValueError: samples of it are damaged.
    """
    added = write_pack(root, paths, folder, workers, part)
    if part != WHOLE and (folder / index_name(part)).exists():
        of_part = _verified(folder, index_name(part))
        state = "all parts are there" if join(folder, part) else "waiting for the other parts"
        name = f"part {part.number + 1} of {part.count}"
        return [f"{folder}: {name}: {len(of_part.paths)} recordings, verified; {state}"]
    if part != WHOLE and not (folder / Pack.INDEX).exists():
        return [f"{folder}: part {part.number + 1} of {part.count} is there; waiting for the other parts"]
    whole = _verified(folder, Pack.INDEX)
    messages = [f"{folder}: {added} recordings added, {len(whole.paths)} in all, verified"]
    if len(whole.paths) > len(paths):
        messages.append(f"{folder}: {len(whole.paths) - len(paths)} of them are no longer listed")
    return messages


def _verified(folder: Path, index: str) -> Pack:
    """Folder, one of its indices -> the pack; raises ValueError if samples in it are damaged."""
    whole = Pack(folder, index)
    if wrong := damaged(whole):
        raise ValueError(
            f"{folder}: {wrong[0]} and {len(wrong) - 1} more are damaged; delete the folder and pack again"
        )
    return whole


def write_pack(
    root: Path, paths: Sequence[str], folder: Path, workers: int = 0, part: ListPart = WHOLE
) -> int:
    """Write a pack of recordings under root, or add those that it lacks -> number of recordings added.

    The index is written after each shard, so that a command that was stopped goes on with the next one. Parts
    have indices of their own until `join` has all of them; what is to be added then is known to each.

    Raises:
        AudioError: a file can't be read, or isn't 16 kHz mono; nothing is written then.
        ValueError: a file has changed since it was packed.
    """
    pack = _open(folder, Pack.INDEX)
    if pack and (path := _changed(pack, root, set(pack.paths).intersection(paths))):
        raise ValueError(f"{root / path}: changed since it was packed; delete {folder} and pack again")
    known = set(pack.paths) if pack else set()
    wanted = [path for path in dict.fromkeys(paths) if path not in known]
    if not wanted:
        return 0
    index = _GrowingIndex(folder, pack, part)
    begin, end = (len(wanted) * number // part.count for number in (part.number, part.number + 1))
    begun = set(index.paths)
    left = [path for path in wanted[begin:end] if path not in begun]
    if not left:
        index.write_if_new()  # there are fewer recordings than parts
        return 0
    measured = np.array(in_processes(partial(map, partial(_measure, root)), left, workers, "measuring"))
    lengths, sources = measured[:, 0], measured[:, 1:]
    _require_space(index.next_shard, int(lengths.sum()))
    for shard in _shards(lengths):
        stored = _write_shard(root, index.next_shard, left[shard], lengths[shard], workers)
        index.add(left[shard], np.column_stack([stored, sources[shard]]))
    return len(left)


class _GrowingIndex:
    """The index of the part of a pack that is being written."""

    def __init__(self, folder: Path, pack: Pack | None, part: ListPart) -> None:
        """Folder, the pack that is there, part -> its index as it is."""
        names = (index_name(part), finished_name(part))
        begun = pack if part == WHOLE else next(filter(None, (_open(folder, name) for name in names)), None)
        self.folder = folder
        self.part = part
        self.paths = list(begun.paths) if begun else []
        self.places = begun.places if begun else np.empty((0, Pack.COLUMNS), np.int64)
        self.is_new = begun is None
        # shards of the parts take turns, after those that the pack has
        self.first = 1 + int(pack.places[:, 0].max()) if pack else 0
        self.num_shards = 0 if part == WHOLE else len(np.unique(self.places[:, 0]))

    @property
    def next_number(self) -> int:
        return self.first + self.num_shards * self.part.count + self.part.number

    @property
    def next_shard(self) -> Path:
        return self.folder / f"{self.next_number:04d}.npy"

    def add(self, paths: Sequence[str], places: NDArray[np.int64]) -> None:
        """Add the next shard's recordings: paths, and places (n, 5) in it."""
        numbers = np.full(len(paths), self.next_number)
        self.paths += paths
        self.places = np.concatenate([self.places, np.column_stack([numbers, places])])
        self.num_shards += 1
        _write_index(self.folder / index_name(self.part), self.paths, self.places)

    def write_if_new(self) -> None:
        """Write the index of a part without recordings."""
        if self.is_new and self.part != WHOLE:
            _write_index(self.folder / index_name(self.part), self.paths, self.places)


def join(folder: Path, part: ListPart) -> bool:
    """A part is whole: make one index of those of all parts -> whether all are.

    Commands that end at the same time may do this at the same time; each writes the same.
    """
    (folder / index_name(part)).replace(folder / finished_name(part))
    parts = [finished_name(ListPart(number, part.count)) for number in range(part.count)]
    packs = [pack for name in parts if (pack := _open(folder, name))]
    if len(packs) < part.count:
        return False
    if whole := _open(folder, Pack.INDEX):
        known = set(whole.paths)
        packs = [whole, *(pack for pack in packs if known.isdisjoint(pack.paths))]
    packed = [path for pack in packs for path in pack.paths]
    _write_index(folder / Pack.INDEX, packed, np.concatenate([pack.places for pack in packs]))
    for name in parts:
        (folder / name).unlink(missing_ok=True)
    return True


def _open(folder: Path, index: str) -> Pack | None:
    return Pack(folder, index) if (folder / index).exists() else None


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
    root: Path, target: Path, paths: Sequence[str], lengths: NDArray[np.int64], workers: int
) -> NDArray[np.int64]:
    """Store recordings of known lengths (n,) in a new shard -> start, length and CRC-32 of each (n, 3)."""
    starts = np.cumsum(lengths) - lengths
    slices = list(zip(paths, starts.tolist(), lengths.tolist(), strict=True))
    with _new_shard(target, int(lengths.sum())) as shard:
        sums = in_processes(partial(map, partial(_store, root, shard)), slices, workers, "packing")
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


def _write_index(target: Path, paths: Sequence[str], places: NDArray[np.int64]) -> None:
    compact = Paths.of(paths)
    with written_whole(target) as stream:
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
