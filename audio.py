"""Recordings: opening, checking, resampling, mixing down and cropping."""

import math
import os
import re
import struct
import zipfile
from collections.abc import Iterable, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from files import Paths, require_files

SAMPLE_RATE = 16_000  # Hz
SHORTEST = 4_800  # samples that every network can embed, 0.3 s
UNKNOWN_LENGTH = 1 << 40  # samples; libsndfile's stand-in is larger, a recording of a year smaller
FORMATS = re.compile(r".+\.(wav|flac|ogg|opus|mp3)", re.IGNORECASE | re.DOTALL)  # what training reads
Audio = NDArray[np.float32]
Samples = NDArray[np.int16]
FULL_SCALE = 32768.0
TRUNCATED = re.compile(r"^data\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)  # said by libsndfile


class AudioError(ValueError):
    """A file that can't be used; the message names it and says why."""


SKIPPED = "skipped"  # kind of a remark: the recording could not be used


class Remark(NamedTuple):
    """Something about a file that the user should hear of: a kind to be counted, and where."""

    kind: str
    path: str


def num_samples(frames: int) -> int:
    """Frames of 10 ms -> samples that voxceleb_trainer cuts for them."""
    return 160 * frames + 240


class Recording:
    """16 kHz mono in [-1, 1], read in pieces, whatever it is stored in."""

    def __init__(self, path: str, num_frames: int, rate: int) -> None:
        self.path, self.num_frames, self.rate = path, num_frames, rate  # frames on its own clock, Hz
        self.remarks = list[Remark]()

    def whole(self) -> Audio:
        """Every sample (T,)."""
        audio = self._piece(0, self.num_frames)
        return audio if self.rate == SAMPLE_RATE else _resample(audio, *_ratio(self.rate))

    def crop(self, length: int, generator: np.random.Generator, speed: float = 1.0) -> Audio:
        """A random piece (length,); see crop_into."""
        piece = np.empty(length, np.float32)
        self.crop_into(piece, generator, speed)
        return piece

    def crop_into(self, out: Audio | Samples, generator: np.random.Generator, speed: float = 1.0) -> None:
        """Fill out (T,) with a random piece, reading no more than it needs; shorter recordings repeat.

        Played `speed` times as fast, pitch and all, as a tape would be; 16-bit samples only fit a pack.
        """
        rate, length = round(self.rate * speed), len(out)
        up, down = _ratio(rate)
        span = -(-length * down // up)  # the same duration on the recording's clock
        start = int(generator.integers(max(0, self.num_frames - span) + 1))
        if rate == SAMPLE_RATE:
            count = min(span, self.num_frames)
            self._read_into(out[:count], start)
            if count < length:
                out[:] = np.resize(out[:count], length)
            return
        # resample_poly's filter reaches this far; a crop with its context equals one cut from
        # the resampled whole. Both clocks meet every `down` samples of the recording.
        context = -(-10 * max(up, down) // up)
        margin = min(start // down, -(-context // down))
        first = start - margin * down
        last = min(start + span + context, self.num_frames)
        skip = margin * up
        resampled = _resample(self._piece(first, last - first), up, down)
        out[:] = np.resize(resampled[skip : skip + length], length)

    def _piece(self, start: int, count: int) -> Audio:
        piece = np.empty(count, np.float32)
        self._read_into(piece, start)
        return piece

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        """Fill out (T,) with the samples from start on."""
        raise NotImplementedError


def _ratio(rate: int) -> tuple[int, int]:
    """Sample rate -> (up, down): up / down times as many samples are 16 kHz."""
    common = math.gcd(rate, SAMPLE_RATE)
    return SAMPLE_RATE // common, rate // common


def _resample(audio: Audio, up: int, down: int) -> Audio:
    from scipy.signal import resample_poly  # takes longer to import than all else; seldom needed

    return resample_poly(audio, up, down).astype(np.float32, copy=False)


class AudioFile(Recording):
    """A file of any format that libsndfile reads, open."""

    def __init__(self, path: str, channel: int | None = None) -> None:
        """Open and check a file; of several channels one is taken, or their mean.

        Raises:
            AudioError: missing, unreadable, truncated or empty.
        """
        try:
            self.file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".") if Path(path).exists() else "no such file"
            raise AudioError(f"{path}: cannot be read: {reason}") from None
        super().__init__(path, self.file.frames, self.file.samplerate)
        if self.file.format == "WAV" and self._promises_more():
            raise AudioError(f"{path}: truncated: its header promises more samples than it holds")
        if self.num_frames >= UNKNOWN_LENGTH:
            raise AudioError(f"{path}: its header doesn't say how long it is; encode it again")
        if self.num_frames == 0:
            raise AudioError(f"{path}: holds no samples")
        self.is_int16 = self.file.subtype == "PCM_16" and self.file.channels == 1
        if self.rate != SAMPLE_RATE:
            self.remarks.append(Remark(f"resampled from {self.rate} to {SAMPLE_RATE} Hz", path))
        self.channel = channel
        if self.file.channels > 1 and channel is None:
            self.remarks.append(Remark(f"{self.file.channels} channels mixed down to one", path))

    def _promises_more(self) -> bool:
        """Whether the data chunk of a WAV file is shorter than its header says; -1 is said by pipes."""
        said = TRUNCATED.search(self.file.extra_info)
        return said is not None and int(said[1]) != 0xFFFFFFFF and int(said[1]) > int(said[2])

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        try:
            self.file.seek(start)
            # 16-bit samples are read as they are: libsndfile takes longer to scale them than NumPy
            read = self.file.read(len(out), dtype="int16" if self.is_int16 else "float32")
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            raise AudioError(f"{self.path}: damaged or truncated: {reason}") from None
        if len(read) < len(out):
            raise AudioError(f"{self.path}: truncated: {len(read)} of {len(out)} samples could be read")
        if self.is_int16:
            np.multiply(read, np.float32(1 / FULL_SCALE), out=out)
            return
        if read.ndim == 2:  # (T, channels) -> (T,)
            read = read.mean(axis=1) if self.channel is None else read[:, self.channel]
        out[:] = read
        if not np.isfinite(out.sum(dtype=np.float64)):
            raise AudioError(f"{self.path}: holds samples that are not finite numbers")


class WaveFile(Recording):
    """A WAV file as corpora are kept for training, 16 bits and mono at 16 kHz, open.

    Read without libsndfile, whose opening and reading take three times as long.
    """

    FORMAT = struct.Struct("<4s4x4s4sIHHI6xH")  # RIFF, WAVE, fmt, its size, coding, channels, rate, bits
    EXPECTED = (b"RIFF", b"WAVE", b"fmt ", 16, 1, 1, SAMPLE_RATE, 16)
    CHUNK = struct.Struct("<4sI")  # name, bytes
    HEAD = 4096  # bytes in which the samples begin in nearly every file

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Path -> the file; None if it is of another kind or not whole, which AudioFile looks into."""
        try:
            stream = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115  (Path is slower; __del__ closes)
        except OSError:
            return None
        recording = cls(path, *cls._samples(stream), stream)
        return recording if recording.num_frames else None

    @classmethod
    def _samples(cls, stream: FileIO) -> tuple[int, int]:
        """The file -> how many samples it holds, 0 if that isn't clear, and the place of the first."""
        head = stream.read(cls.HEAD) or b""
        place = cls.FORMAT.size
        if len(head) < place or cls.FORMAT.unpack_from(head) != cls.EXPECTED:
            return 0, 0
        while place + cls.CHUNK.size <= len(head):
            name, size = cls.CHUNK.unpack_from(head, place)
            place += cls.CHUNK.size
            if name == b"data":
                return size // 2 * (place + size <= os.fstat(stream.fileno()).st_size), place
            place += size + size % 2
        return 0, 0

    def __init__(self, path: str, num_frames: int, begin: int, stream: FileIO) -> None:
        super().__init__(path, num_frames, SAMPLE_RATE)
        self.stream, self.begin = stream, begin  # bytes before the first sample

    def __del__(self) -> None:
        self.stream.close()

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        samples = np.empty(len(out), "<i2")
        try:
            self.stream.seek(self.begin + 2 * start)
            read = self.stream.readinto(samples.data) or 0
        except OSError as error:
            raise AudioError(f"{self.path}: cannot be read: {error.strerror}") from None
        if read < samples.nbytes:
            raise AudioError(f"{self.path}: truncated: {read // 2} of {len(out)} samples could be read")
        np.multiply(samples, np.float32(1 / FULL_SCALE), out=out)


class PackedRecording(Recording):
    """A slice of a pack's samples."""

    def __init__(self, samples: Samples) -> None:
        super().__init__("", len(samples), SAMPLE_RATE)
        self.samples = samples

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        samples = self.samples[start : start + len(out)]
        if out.dtype == np.int16:
            out[:] = samples
        else:
            np.multiply(samples, np.float32(1 / FULL_SCALE), out=out)


class Pack:
    """What dataprep.py --pack made: recordings as 16-bit samples in a row, memory-mapped.

    A folder with shards `0000.npy`, `0001.npy`, ... and `index.npz`: the recordings' paths (arrays of
    files.Paths) and `places`, for each its shard, start, length in samples and CRC-32, and the size in bytes
    and time in ns (mtime_ns) of the file that it was packed from.
    """

    INDEX = "index.npz"
    COLUMNS = 6  # of places

    def __init__(self, folder: Path) -> None:
        """Read the index; raises ValueError or FileNotFoundError if it isn't whole."""
        self.folder, self._shards = folder, dict[int, Samples]()
        try:
            with np.load(folder / self.INDEX, allow_pickle=False) as index:
                self.paths, self.places = Paths(index["text"], index["ends"]), index["places"]
            if self.places.shape != (len(self.paths), self.COLUMNS):
                raise ValueError(f"places are {self.places.shape}, not {(len(self.paths), self.COLUMNS)}")
        except FileNotFoundError:
            raise FileNotFoundError(f"{folder}: no pack; make one with dataprep.py --pack") from None
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"{folder / self.INDEX}: damaged: {error}; make the pack again") from None

    def samples(self, row: int) -> Samples:
        """Row of the index -> samples (T,), a view of the shard."""
        number, start, length = self.places[row, :3].tolist()
        if number not in self._shards:
            path = self.shard(number)
            try:
                # a plain view of the map: slices of np.memmap take four times as long
                self._shards[number] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            except (OSError, ValueError) as error:
                raise ValueError(f"{path}: missing or damaged: {error}") from None
        return self._shards[number][start : start + length]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shards": {}}  # another process maps them itself

    def shard(self, number: int) -> Path:
        """Where a shard lies."""
        return self.folder / f"{number:04d}.npy"

    def rows(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """Paths -> their rows; raises ValueError if the pack lacks one."""
        if isinstance(paths, Paths) and paths == self.paths:
            return np.arange(len(paths))
        known = {path: row for row, path in enumerate(self.paths)}
        try:
            return np.array([known[path] for path in paths], dtype=np.int64)
        except KeyError as error:
            raise ValueError(
                f"{error.args[0]} is not in the pack {self.folder}; add it with dataprep.py --pack"
            ) from None


class Recordings:
    """The recordings of a list: files under a folder, or slices of a pack where the folder is one."""

    def __init__(self, root: str, paths: Sequence[str], channel: int | None = None) -> None:
        """Raises ValueError if a pack lacks one of them; files are only looked at when they are opened."""
        self.root, self.paths, self.channel = root, paths, channel
        self.pack = Pack(Path(root)) if Path(root, Pack.INDEX).exists() else None
        self.rows = self.pack.rows(paths) if self.pack else None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Recording:
        """Place in the list -> the recording; raises AudioError if it can't be used."""
        if self.pack is not None and self.rows is not None:
            return PackedRecording(self.pack.samples(self.rows[number]))
        path = os.path.join(self.root, self.paths[number])  # noqa: PTH118  (Path is 4 times as slow)
        return (path.endswith(".wav") and WaveFile.open(path)) or AudioFile(path, self.channel)

    def require(self, numbers: Iterable[int], flag: str) -> None:
        """Raises FileNotFoundError for the first of the recordings that isn't there."""
        if self.pack is None:
            require_files(self.root, (self.paths[number] for number in numbers), flag)

    def identities(self) -> list[str]:
        """Of each recording a text that is another one when the recording is another or has changed."""
        if self.pack is not None:
            root, columns = self.pack.folder.absolute(), self.pack.places[self.rows, 2:4].tolist()
            return [
                f"{root}/{path} {length} {crc}"
                for path, (length, crc) in zip(self.paths, columns, strict=True)
            ]
        files = [os.path.join(self.root, path) for path in self.paths]  # noqa: PTH118
        return [f"{os.path.abspath(file)} {self.channel} {_stamp(file)}" for file in files]  # noqa: PTH100

    def sizes(self) -> list[int]:
        """Of each recording a number that grows with its length: samples, or bytes of the file."""
        if (durations := self.durations()) is not None:
            return durations.tolist()
        files = (os.path.join(self.root, path) for path in self.paths)  # noqa: PTH118
        return [os.path.getsize(file) if os.path.exists(file) else 0 for file in files]  # noqa: PTH110, PTH202

    def durations(self) -> NDArray[np.int64] | None:
        """Length of each in samples; None where that would take opening every file."""
        return None if self.pack is None else self.pack.places[self.rows, 2]


def _stamp(file: str) -> str:
    """Size and time of a file, "" if there is none."""
    try:
        status = os.stat(file)  # noqa: PTH116  (Path is 4 times as slow)
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def to_int16(audio: Audio) -> Samples:
    """Samples (T,) in [-1, 1] -> 16-bit samples (T,), rounded and clipped."""
    return np.clip(np.rint(audio * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
