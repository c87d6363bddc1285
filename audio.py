"""Recordings: opening, checking, resampling, mixing down and cropping."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz
SHORTEST = 4_800  # samples that every network can embed, 0.3 s
UNKNOWN_LENGTH = 1 << 40  # samples; libsndfile's stand-in is larger, a recording of a year smaller
Audio = NDArray[np.float32]
Samples = NDArray[np.int16]
FULL_SCALE = 32768.0


class AudioError(ValueError):
    """A file that can't be used; the message names it and says why."""


class Remark(NamedTuple):
    """Something about a file that the user should hear of: a kind to be counted, and where."""

    kind: str
    path: str


def num_samples(frames: int) -> int:
    """Frames of 10 ms -> samples that voxceleb_trainer cuts for them."""
    return 160 * frames + 240


class AudioFile:
    """An open recording: 16 kHz mono float32 in [-1, 1] whatever the file holds."""

    def __init__(self, path: str) -> None:
        """Open and check a file.

        Raises:
            AudioError: missing, unreadable, truncated or empty.
        """
        self.path, self.remarks = path, list[Remark]()
        try:
            self.file = soundfile.SoundFile(path)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".") if Path(path).exists() else "no such file"
            raise AudioError(f"{path}: cannot be read: {reason}") from None
        if self.file.format == "WAV" and self._promises_more():
            raise AudioError(f"{path}: truncated: its header promises more samples than it holds")
        if self.file.frames >= UNKNOWN_LENGTH:
            raise AudioError(f"{path}: its header doesn't say how long it is; encode it again")
        if self.file.frames == 0:
            raise AudioError(f"{path}: holds no samples")
        self.num_frames, self.rate = self.file.frames, self.file.samplerate
        common = int(np.gcd(self.rate, SAMPLE_RATE))
        self.up, self.down = SAMPLE_RATE // common, self.rate // common
        if self.rate != SAMPLE_RATE:
            self.remarks.append(Remark(f"resampled from {self.rate} to {SAMPLE_RATE} Hz", path))
        if self.file.channels > 1:
            self.remarks.append(Remark(f"{self.file.channels} channels mixed down to one", path))

    def _promises_more(self) -> bool:
        """Whether the data chunk of a WAV file is shorter than its header says; -1 is said by pipes."""
        said = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", self.file.extra_info, re.MULTILINE)
        return said is not None and int(said[1]) != 0xFFFFFFFF and int(said[1]) > int(said[2])

    def whole(self) -> Audio:
        """Every sample (T,)."""
        return self._resample(self._read(0, self.num_frames))

    def crop(self, length: int, generator: np.random.Generator) -> Audio:
        """A random piece (length,), reading no more than it needs; shorter files repeat."""
        span = -(-length * self.down // self.up)  # the same duration on the file's clock
        start = int(generator.integers(max(0, self.num_frames - span) + 1))
        if self.rate == SAMPLE_RATE:
            audio = self._read(start, min(span, self.num_frames))
        else:
            # resample_poly's filter reaches this far; a crop with its context equals one cut from
            # the resampled whole. Both clocks meet every `down` samples of the file.
            context = -(-10 * max(self.up, self.down) // self.up)
            margin = min(start // self.down, -(-context // self.down))
            first = start - margin * self.down
            last = min(start + span + context, self.num_frames)
            skip = margin * self.up
            audio = self._resample(self._read(first, last - first))[skip : skip + length]
        return np.resize(audio, length)

    def _read(self, start: int, count: int) -> Audio:
        try:
            self.file.seek(start)
            audio = self.file.read(count, dtype="float32")
        except soundfile.LibsndfileError as error:
            reason = error.error_string.rstrip(".")
            raise AudioError(f"{self.path}: damaged or truncated: {reason}") from None
        if len(audio) < count:
            raise AudioError(f"{self.path}: truncated: {len(audio)} of {count} samples could be read")
        if audio.ndim == 2:
            audio = audio.mean(axis=1)  # (T, channels) -> (T,)
        if not np.isfinite(audio.sum(dtype=np.float64)):
            raise AudioError(f"{self.path}: holds samples that are not finite numbers")
        return audio

    def _resample(self, audio: Audio) -> Audio:
        if self.rate == SAMPLE_RATE:
            return audio
        from scipy.signal import resample_poly  # takes longer to import than all else; seldom needed

        return resample_poly(audio, self.up, self.down).astype(np.float32)


def to_int16(audio: Audio) -> Samples:
    """Samples (T,) in [-1, 1] -> 16-bit samples (T,), rounded and clipped."""
    return np.clip(np.rint(audio * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def evaluation_crops(audio: Audio, length: int, count: int) -> Audio:
    """Audio (T,) -> crops (count, length) spread evenly over it; length 0: the whole, (1, T).

    Audio that is shorter than a crop, or than 0.3 s, is repeated.
    """
    least = length or SHORTEST
    if len(audio) < least:
        audio = np.resize(audio, least)
    if length == 0:
        return audio[None]
    starts = np.linspace(0, len(audio) - length, num=count).astype(int)
    return np.stack([audio[start : start + length] for start in starts])
