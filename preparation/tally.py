"""Statistics of a recording for --check, and the faults that they show."""

import hashlib
import math

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio.containers import reason_of
from audio.errors import AudioError
from audio.recording import SAMPLE_RATE, AudioFile, mix_down

BLOCK = 1 << 17  # samples decoded at a time: most utterances whole, 0.5 MiB
QUIET = 10.0 ** (-80 / 20)
FULL_SCALE = 32_767 / 32_768  # the largest 16-bit sample
LOUD = 0.1  # quieter extremes are flat because few levels remain, not because of clipping
FLAT_TOP = 5  # equal samples in a row; the top of a 100 Hz wave at -20 dBFS has one
CLIPPED_SHARE = 0.01


class Tally:
    """Statistics of a recording, accumulated in one pass over its blocks."""

    def __init__(self, audio: AudioFile) -> None:
        self.path = audio.path
        self.rate = audio.rate
        self.channels = audio.file.channels
        self.hash = hashlib.sha1(str(self.rate).encode(), usedforsecurity=False)
        self.has_cancelled = False  # whether its channels are in opposite phase somewhere
        self.num_frames = 0
        self.num_full = 0.0  # samples at full scale, averaged over channels
        self.total = 0.0
        self.squares = 0.0
        self.peak = 0.0
        self.tops = {1: (0.0, 0), -1: (0.0, 0)}  # sign -> extreme so far, samples in flat tops there
        size = max(1, BLOCK // self.channels)
        try:
            while len(block := audio.file.read(size, dtype="float32", always_2d=True)):
                self._add(block)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.path}: damaged or truncated: {reason_of(error)}") from None

    def _add(self, block: NDArray[np.float32]) -> None:
        """Accumulate samples (T, channels)."""
        if not np.isfinite(block).all():
            place = self.num_frames + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise AudioError(f"{self.path}: not finite at {place / self.rate:.4f} s")
        mono = block[:, 0]
        if self.channels > 1:
            mono, has_cancelled = mix_down(block)
            self.has_cancelled |= has_cancelled
        mono = mono + np.float32(0.0)  # -0.0 becomes 0.0, so that both have one hash
        self.hash.update(mono.data)
        self.num_frames += len(mono)
        size = np.abs(block)
        self.num_full += np.count_nonzero(size >= FULL_SCALE) / self.channels
        self.peak = max(self.peak, float(size.max()))
        self.total += float(mono.sum(dtype=np.float64))
        self.squares += float(np.einsum("t,t->", mono, mono, dtype=np.float64))
        for sign, (extreme, count) in self.tops.items():
            top = sign * float(mono.max() if sign > 0 else mono.min())
            if top >= max(extreme, LOUD):
                self.tops[sign] = top, _flat(mono == sign * top) + (count if top == extreme else 0)

    def faults(self, min_duration_s: float) -> dict[str, str]:
        """Kind -> detail of each fault of the recording."""
        faults: dict[str, str] = {}
        duration_s = self.num_frames / self.rate
        mean = self.total / self.num_frames
        power = self.squares / self.num_frames
        clipped = max(self.num_full, sum(count for _, count in self.tops.values())) / self.num_frames
        if duration_s < min_duration_s:
            faults["too short"] = f"{duration_s:.3f} s, less than {min_duration_s:g} s"
        if power < QUIET**2:
            faults["silent"] = f"RMS {10.0 * math.log10(power):.0f} dBFS" if power else "all zero"
        elif power - mean**2 < QUIET**2:
            faults["constant"] = f"{mean:.4g} throughout"
        elif clipped >= CLIPPED_SHARE:
            faults["clipped"] = f"{clipped:.1%} of its samples, peak {self.peak:.3g}"
        if self.rate != SAMPLE_RATE:
            faults["wrong rate"] = f"{self.rate} Hz"
        if self.channels > 1:
            remark = " in opposite phase" if self.has_cancelled else ""
            faults["several channels"] = f"{self.channels} channels{remark}"
        return faults


def _flat(at_top: NDArray[np.bool_]) -> int:
    """Mask (T,) of samples at the extreme -> how many of them are in runs of at least FLAT_TOP."""
    places = np.flatnonzero(at_top)
    lengths = np.diff(np.flatnonzero(np.diff(places, prepend=-2, append=len(at_top) + 1) != 1))
    return int(lengths[lengths >= FLAT_TOP].sum())
