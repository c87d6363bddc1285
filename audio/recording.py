"""Recordings: opening, checking, resampling, mixing down and cropping."""

import math
import re
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audio.containers import BLOCK, open_file, reason_of
from audio.errors import AudioError
from audio.utterances import ALL_CHANNELS, Utterance

SAMPLE_RATE = 16_000  # Hz
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz; others are errors in a header, and take much memory
SHORTEST = 4_800  # samples that every network can embed, 0.3 s
FORMATS = re.compile(r".+\.(wav|flac|ogg|opus|mp3)", re.IGNORECASE | re.DOTALL)  # what training reads
Audio = NDArray[np.float32]
Samples = NDArray[np.int16]
FULL_SCALE = 32768.0
PIECE = 1 << 26  # samples of all channels that are read at a time; the memory for them is 256 MiB
CANCELLED = 0.01  # share of the channels' mean power, below which their mean, or one of them, is silence
NO_END = "Ogg without an end of stream: recording was stopped, or whole pages are missing at its end"
OPPOSITE_PHASE = "channels in opposite phase: the first that is not silent is taken"


def num_samples(frames: int) -> int:
    """Frames of 10 ms -> samples that voxceleb_trainer cuts for them."""
    return 160 * frames + 240


class Recording:
    """16 kHz mono in [-1, 1], read in pieces, whatever it is stored in."""

    def __init__(self, path: str, num_frames: int, rate: int) -> None:
        self.path = path
        self.first = 0  # the first of the file's samples that is used
        self.num_frames = num_frames  # how many are used, at its sample rate
        self.rate = rate  # Hz
        self.num_channels = 1  # that are stored
        self.remarks = list[str]()  # what its user should know, such as that it is resampled
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            limits = f"{LOWEST_RATE} to {HIGHEST_RATE} Hz"
            raise AudioError(f"{path}: its sample rate is {rate} Hz, expected {limits}; is the header right?")
        if rate != SAMPLE_RATE:
            self.remarks.append(f"resampled from {rate} to {SAMPLE_RATE} Hz")

    def cut(self, segment: Utterance) -> None:
        """Keep only a segment; raises AudioError if it isn't within the recording."""
        samples = segment.samples(self.num_frames, self.rate)
        if samples is None:
            raise AudioError(f"{segment}: the recording lasts {self.num_frames / self.rate:g} s")
        self.first = samples[0]
        self.num_frames = samples[1] - samples[0]

    def whole(self) -> Audio:
        """Every sample (T,); long recordings are read in pieces, so that only the result is large."""
        longest = PIECE // self.num_channels
        if self.rate != SAMPLE_RATE:
            return self._resampled(longest)
        audio = np.empty(self.num_frames, np.float32)
        for start in range(0, self.num_frames, longest):
            self._read_into(audio[start : start + longest], self.first + start)
        return audio

    def whole_int16(self) -> Samples:
        """Every sample (T,), rounded and clipped."""
        return to_int16(self.whole())

    def _resampled(self, longest: int) -> Audio:
        """Every sample (T,) at 16 kHz, from pieces of about `longest` samples and their context."""
        up, down = _ratio(self.rate)
        if self.num_frames <= longest:
            return _resample(self._piece(0, self.num_frames), up, down)
        margin = -(-_context(up, down) // down)
        step = max(longest // down, margin) * down  # the two sample grids coincide every `down` samples
        audio = np.empty(-(-self.num_frames * up // down), np.float32)
        place = 0
        held = np.zeros(margin * down, np.float32)  # begins so much before what is resampled next
        for start in range(0, self.num_frames, step):
            held = np.append(held, self._piece(start, min(step, self.num_frames - start)))
            resampled = _resample(held, up, down)[margin * up :]
            if start + step < self.num_frames:
                resampled = resampled[: -margin * up]
                held = held[-2 * margin * down :]
            audio[place : place + len(resampled)] = resampled
            place += len(resampled)
        return audio

    def crop(self, length: int, generator: "np.random.Generator", speed: float = 1.0) -> Audio:
        """A random piece (length,); see crop_into."""
        piece = np.empty(length, np.float32)
        self.crop_into(piece, generator, speed)
        return piece

    def crop_into(self, out: Audio | Samples, generator: "np.random.Generator", speed: float = 1.0) -> None:
        """Fill out (T,) with a random piece, reading no more than it needs; shorter recordings repeat.

        Played `speed` times as fast, pitch and all, as a tape would be; out may be 16-bit only for a pack.
        """
        rate, length = round(self.rate * speed), len(out)
        up, down = _ratio(rate)
        span = -(-length * down // up)  # the same duration in samples of the recording
        start = int(generator.integers(max(0, self.num_frames - span) + 1))
        if rate == SAMPLE_RATE:
            count = min(span, self.num_frames)
            self._read_into(out[:count], self.first + start)
            if count < length:
                out[:] = np.resize(out[:count], length)
            return
        # A crop with its context, which is silence before the recording begins, equals one cut from the
        # resampled whole. The sample grids coincide every `down` samples of the recording.
        context = _context(up, down)
        margin = -(-context // down)
        first = start - margin * down
        last = min(start + span + context, self.num_frames)
        skip = margin * up
        piece = self._piece(max(first, 0), last - max(first, 0))
        if first < 0:
            piece = np.pad(piece, (-first, 0))
        resampled = _resample(piece, up, down)
        out[:] = np.resize(resampled[skip : skip + length], length)

    def _piece(self, start: int, count: int) -> Audio:
        piece = np.empty(count, np.float32)
        self._read_into(piece, self.first + start)
        return piece

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        """Fill out (T,) with the file's samples from start on."""
        raise NotImplementedError


def _ratio(rate: int) -> tuple[int, int]:
    """Sample rate -> (up, down): resampling by up / down gives 16 kHz."""
    common = math.gcd(rate, SAMPLE_RATE)
    return SAMPLE_RATE // common, rate // common


def _context(up: int, down: int) -> int:
    """How many samples of the recording resample_poly's filter reaches to each side."""
    return -(-10 * max(up, down) // up)


def _resample(audio: Audio, up: int, down: int) -> Audio:
    from scipy.signal import resample_poly  # takes longer to import than all else; seldom needed

    return resample_poly(audio, up, down).astype(np.float32, copy=False)


def mix_down(samples: Audio) -> tuple[Audio, bool]:
    """Samples (T, C) -> the mean of the channels (T,), False; one channel, True if the mean cancels them.

    Each piece that is read is decided on alone, because a crop must not depend on the rest of the recording,
    which isn't read for it, nor on what was read before. The mean of silence is silence.
    """
    mean = samples[:, 0].copy()
    for channel in samples.T[1:]:  # samples.mean(axis=1) takes 7 times as long
        mean += channel
    mean /= samples.shape[1]
    flat = samples.ravel()
    if np.vdot(mean, mean) > 2.0 * CANCELLED * np.vdot(flat, flat) / samples.shape[1]:
        return mean, False  # in nearly every recording; what is near the limit is computed exactly
    powers = np.einsum("tc,tc->c", samples, samples, dtype=np.float64)  # times T, as is the next one
    silence = CANCELLED * powers.mean()
    if not np.einsum("t,t->", mean, mean, dtype=np.float64) < silence:
        return mean, False
    # of three channels the first may be silent, and the others cancel each other
    return samples[:, int(np.argmax(powers >= silence))], True


def mixed_down(num_channels: int) -> str:
    """The remark on a recording with several channels."""
    return f"{num_channels} channels mixed down to one"


def require_channel(path: str, channel: int, num_channels: int) -> None:
    """Raises AudioError for a recording without a channel of that number."""
    if channel >= num_channels:
        raise AudioError(
            f"{path}: has no channel {channel}: it has {num_channels}, and --channel counts from 0"
        )


class AudioFile(Recording):
    """A file of any format that libsndfile reads, open."""

    def __init__(self, path: str, channel: int = ALL_CHANNELS, longest_s: float = math.inf) -> None:
        """Open and check a file; of several channels one is taken, or they are mixed down.

        Raises:
            AudioError: missing, unreadable, truncated, empty, longer than longest_s, or without this channel.
            UnsupportedAudioError: in a format that libsndfile doesn't read whole.
        """
        self.file, num_frames, self.is_sequential, has_end = open_file(path, longest_s)
        super().__init__(path, num_frames, self.file.samplerate)
        self.num_channels = self.file.channels
        self.place = 0  # sample that is decoded next, if it is sequential
        if self.num_frames == 0:
            raise AudioError(f"{path}: holds no samples")
        require_channel(path, channel, self.num_channels)
        self.is_int16 = self.file.subtype == "PCM_16" and self.num_channels == 1
        self.channel = channel
        if self.num_channels > 1 and channel == ALL_CHANNELS:
            self.remarks.append(mixed_down(self.num_channels))
        if not has_end:
            self.remarks.append(NO_END)

    def _go_to(self, start: int) -> None:
        """Have the sample at start read next."""
        if not self.is_sequential:
            self.file.seek(start)
            return
        if start < self.place:
            self.file = open_file(self.path).decoder
            self.place = 0
        while count := len(self.file.read(min(BLOCK, start - self.place), dtype="float32")):
            self.place += count

    def whole_int16(self) -> Samples:
        """Every sample (T,); exact for 16-bit mono files at 16 kHz, rounded and clipped for others."""
        if self.is_int16 and self.rate == SAMPLE_RATE:
            return self._decoded(self.num_frames, self.first)
        return super().whole_int16()

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        read = self._decoded(len(out), start)
        if self.is_int16:
            np.multiply(read, np.float32(1 / FULL_SCALE), out=out)
            return
        out[:] = self._one_channel(read) if read.ndim == 2 else read
        if not np.isfinite(out.sum(dtype=np.float64)):
            raise AudioError(f"{self.path}: holds samples that are not finite numbers")

    def _decoded(self, count: int, start: int) -> NDArray[Any]:
        """So many samples (T,) or (T, C) from start on, as they are stored or in [-1, 1]."""
        try:
            self._go_to(start)
            # 16-bit samples are read as they are: libsndfile takes longer to scale them than NumPy
            read = self.file.read(count, dtype="int16" if self.is_int16 else "float32")
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{self.path}: damaged or truncated: {reason_of(error)}") from None
        self.place += len(read)
        if len(read) < count:
            raise AudioError(f"{self.path}: truncated: {len(read)} of {count} samples could be read")
        return read

    def _one_channel(self, samples: Audio) -> Audio:
        """Samples (T, C) -> the chosen channel, or all mixed down (T,)."""
        if self.channel != ALL_CHANNELS:
            return samples[:, self.channel]
        mixed, has_cancelled = mix_down(samples)
        if has_cancelled and OPPOSITE_PHASE not in self.remarks:
            self.remarks.append(OPPOSITE_PHASE)
        return mixed


class RecordingInMemory(Recording):
    """Samples (T,) of 16 bits or in [-1, 1], such as a slice of a pack."""

    def __init__(self, path: str, samples: Samples | Audio, rate: int = SAMPLE_RATE) -> None:
        super().__init__(path, len(samples), rate)
        self.samples = samples

    def _read_into(self, out: Audio | Samples, start: int) -> None:
        samples = self.samples[start : start + len(out)]
        if samples.dtype == out.dtype:
            out[:] = samples
        else:
            np.multiply(samples, np.float32(1 / FULL_SCALE), out=out)


def to_int16(audio: Audio) -> Samples:
    """Samples (T,) in [-1, 1] -> 16-bit samples (T,), rounded and clipped."""
    return np.clip(np.rint(audio * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
