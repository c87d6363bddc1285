"""What a user gives as audio: a file, standard input, a waveform in memory or the microphone.

All of it becomes a waveform at 16 kHz, or one line that says why not. Whatever is given, a call returns, and
takes no more memory than recordings of LONGEST_S do.
"""

import importlib
import operator
import os
import select
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from audio.any_format import open_any
from audio.errors import AudioError, too_long
from audio.file_status import status_of
from audio.recording import (
    ALL_CHANNELS,
    OPPOSITE_PHASE,
    SAMPLE_RATE,
    Audio,
    Recording,
    RecordingInMemory,
    mix_down,
    mixed_down,
    require_channel,
)

STANDARD_INPUT = "-"
LONGEST_S = 4 * 3600.0
MOST_CHANNELS = 64
MOST_SAMPLES = 1 << 32  # of all channels: 4 hours of 6 channels at 48 kHz
LARGEST_FILE = 1 << 35  # bytes, 32 GiB: sparse files may claim more than can be searched
LARGEST_STREAM = 1_000_000_000  # bytes of standard input
FULL_SCALES = {"f": 1.0, "i2": 1 << 15, "i4": 1 << 31}  # by kind of samples, or kind and bytes
MOST_OVERSHOOT = 4.0  # of samples beyond full scale, 12 dB; larger ones are in other units
RECORDED_AT_ONCE_S = 0.1


class AudioInput(NamedTuple):
    """Samples (T,) in [-1, 1] at 16 kHz, and what the user should know of how they were made."""

    waveform: Audio
    remarks: list[str]


def read_audio(source: str | os.PathLike[str], channel: int = ALL_CHANNELS) -> AudioInput:
    """Path of a recording of any format, or "-" for standard input -> its samples.

    channel: the one that is taken of several, 0 the first; ALL_CHANNELS: they are mixed down.

    Raises:
        AudioError: it can't be used; the message names it and says why in one line.
    """
    if source == STANDARD_INPUT:
        return _read_standard_input(channel)
    path = os.fspath(source)
    size = status_of(path).size
    if size > LARGEST_FILE:
        raise AudioError(f"{path}: {size} bytes, more than {LARGEST_FILE >> 30} GiB; cut it into pieces")
    try:
        return _read(open_any(path, channel, longest_s=LONGEST_S))
    except MemoryError:
        raise AudioError(f"{path}: takes more memory than there is; cut it into pieces") from None


def open_input(path: str, channel: int = ALL_CHANNELS) -> Recording:
    """The same as a recording, for those who read many; all of it is in memory."""
    waveform, remarks = read_audio(path, channel)
    recording = RecordingInMemory(path, waveform)
    recording.remarks += remarks
    return recording


def from_samples(samples: Any, rate: int, channel: int = ALL_CHANNELS, name: str = "waveform") -> AudioInput:
    """Samples (T,), (T, C) or (C, T), sample rate in Hz -> samples at 16 kHz, as of a file that holds them.

    Args:
        samples: NumPy array or PyTorch tensor of floats in [-1, 1], or of int16 or int32. Of two axes the
            shorter one is that of the channels, at most MOST_CHANNELS.
        rate: Hz.
        channel: the one that is taken of several, 0 the first; ALL_CHANNELS: they are mixed down.
        name: of the waveform, for errors.

    Raises:
        AudioError: another type, shape or rate, no samples, or samples that aren't finite or beyond [-1, 1].
    """
    by_channel = _by_channel(_array(samples, name), name)
    require_channel(name, channel, by_channel.shape[1])
    remarks = list[str]()
    if channel != ALL_CHANNELS or by_channel.shape[1] == 1:
        mono = by_channel[:, max(channel, 0)]
    else:
        mono, has_cancelled = mix_down(by_channel)
        remarks = [mixed_down(by_channel.shape[1]), *([OPPOSITE_PHASE] if has_cancelled else [])]
    recording = RecordingInMemory(name, mono, _rate(rate, name))
    recording.remarks += remarks
    return _read(recording)


def record(duration_s: float, on_start: Callable[[], None] = lambda: None) -> AudioInput:
    """Duration in seconds -> what the microphone hears in that time, or until Enter or Ctrl-C is pressed.

    on_start: called when the microphone is on.

    Raises:
        ValueError: no microphone, or the package sounddevice or its library isn't installed.
        AudioError: nothing was recorded.
    """
    if not 0.0 < duration_s <= LONGEST_S:
        raise ValueError(f"expected a duration over 0 s and at most {LONGEST_S:g} s, got {duration_s:g} s")
    blocks = list[Audio]()
    with microphone() as (stream, rate):
        on_start()
        has_gaps = _fill(blocks, stream, round(duration_s * rate), round(RECORDED_AT_ONCE_S * rate))
    if not blocks:
        raise AudioError("microphone: nothing was recorded")
    heard = from_samples(np.concatenate(blocks), rate, name="microphone")
    if has_gaps:
        heard.remarks.append("the recording has gaps: the computer was too busy")
    return heard


@contextmanager
def microphone() -> Iterator[tuple[Any, int]]:
    """The microphone, switched on, as a stream of sounddevice of float32 (T, 1), and its rate in Hz.

    Raises:
        ValueError: no microphone, or the package sounddevice or its library isn't installed.
    """
    sounddevice = _sounddevice()
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        microphone_stream = sounddevice.InputStream(samplerate=rate, channels=1, dtype="float32")
    except (sounddevice.PortAudioError, ValueError) as error:  # ValueError: there is no input device
        raise _no_microphone(error) from None
    try:
        with microphone_stream as stream:
            yield stream, rate
    except sounddevice.PortAudioError as error:
        raise _no_microphone(error) from None


def _no_microphone(error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"the microphone can't be used: {reason}; is one connected?")


def _read(recording: Recording) -> AudioInput:
    """A recording -> its samples, after checks of what its header promises."""
    num_channels, rate = recording.num_channels, recording.rate
    if num_channels > MOST_CHANNELS:
        raise AudioError(f"{recording.path}: has {num_channels} channels, at most {MOST_CHANNELS} are read")
    if recording.num_frames > LONGEST_S * rate:
        raise AudioError(f"{recording.path}: {too_long(LONGEST_S)}")
    if recording.num_frames * num_channels > MOST_SAMPLES:
        most_s = MOST_SAMPLES / num_channels / rate
        raise AudioError(
            f"{recording.path}: {num_channels} channels at {rate} Hz are read up to {most_s:.0f} s, "
            f"it lasts {recording.num_frames / rate:.0f} s; cut it into pieces"
        )
    waveform = recording.whole()
    _require_range(waveform, recording.path)
    remarks = recording.remarks
    if rate < SAMPLE_RATE:
        remarks.append(f"recorded at {rate} Hz: nothing above {rate / 2:g} Hz, as on a telephone")
    return AudioInput(waveform, remarks)


def _read_standard_input(channel: int) -> AudioInput:
    """Standard input, a recording of any format -> its samples; decoders seek, and so need a file."""
    name = "standard input"
    if sys.stdin is None or sys.stdin.isatty():
        raise AudioError(f"{name}: a terminal, or closed; write `COMMAND - < FILE`, or give the file")
    num_bytes = 0
    with tempfile.NamedTemporaryFile(prefix="speakernet-") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            num_bytes += len(block)
            if num_bytes > LARGEST_STREAM:
                raise AudioError(f"{name}: more than {LARGEST_STREAM / 1e9:g} GB; write it to a file")
            file.write(block)
        file.flush()
        try:
            return read_audio(file.name, channel)
        except AudioError as error:
            raise AudioError(f"{name}: {error.reason(file.name)}") from None


def _array(samples: Any, name: str) -> Audio:
    """NumPy array or PyTorch tensor -> its samples in [-1, 1] in float32."""
    expected = "expected a NumPy array or PyTorch tensor of float, int16 or int32"
    if hasattr(samples, "detach"):
        samples = samples.detach().cpu()
        samples = samples.float().numpy() if samples.is_floating_point() else samples.numpy()
    if not isinstance(samples, np.ndarray):
        raise AudioError(f"{name}: {expected}, got {type(samples).__name__}")
    dtype = samples.dtype
    full_scale = FULL_SCALES.get(dtype.kind) or FULL_SCALES.get(f"{dtype.kind}{dtype.itemsize}")
    if full_scale is None:
        raise AudioError(f"{name}: {expected}, got {dtype}")
    if samples.size == 0:
        raise AudioError(f"{name}: holds no samples")
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        audio = samples.astype(np.float32)
    if full_scale != 1.0:
        audio /= np.float32(full_scale)
    if not np.isfinite(audio.sum(dtype=np.float64)):
        raise AudioError(f"{name}: holds samples that are not finite numbers")
    return audio


def _require_range(audio: Audio, name: str) -> None:
    """Raises AudioError for samples (T,) in other units, which would be taken for clipped."""
    peak = max(float(audio.max()), -float(audio.min()))
    if peak > MOST_OVERSHOOT:
        raise AudioError(f"{name}: expected samples in [-1, 1], got {peak:g}; divide 16-bit ones by 32768")


def _by_channel(audio: Audio, name: str) -> Audio:
    """Samples (T,), (T, C) or (C, T) -> (T, C)."""
    shape = audio.shape
    if len(shape) == 1:
        return audio[:, None]
    if len(shape) != 2 or shape[0] == shape[1] != 1 or min(shape) > MOST_CHANNELS:
        raise AudioError(
            f"{name}: expected the shape (T,), (T, C) or (C, T) with at most {MOST_CHANNELS} channels C, "
            f"fewer than samples T, got {shape}"
        )
    return audio if shape[0] >= shape[1] else np.ascontiguousarray(audio.T)


def _rate(rate: Any, name: str) -> int:
    """A sample rate -> the same as an integer."""
    try:
        return operator.index(rate)
    except TypeError:
        if isinstance(rate, float) and rate.is_integer():
            return int(rate)
    raise AudioError(f"{name}: expected a sample rate in Hz, a whole number, got {rate!r}")


def _fill(blocks: list[Audio], stream: Any, count: int, at_once: int) -> bool:
    """Append what an open stream hears, up to so many samples -> whether some between them were lost."""
    has_gaps = False
    try:
        while count > 0 and not _enter_pressed():
            block, is_late = stream.read(min(at_once, count))
            blocks.append(block[:, 0])
            count -= len(block)
            has_gaps |= bool(is_late)
    except KeyboardInterrupt:
        pass  # what was heard until then is used
    return has_gaps


def _enter_pressed() -> bool:
    """Whether a line was entered at the terminal; it is read."""
    if sys.stdin is None or not sys.stdin.isatty() or not select.select([sys.stdin], [], [], 0)[0]:
        return False
    sys.stdin.readline()
    return True


def _sounddevice() -> Any:
    """The package sounddevice; raises ValueError if it or its library isn't installed."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise ValueError("the microphone needs a package: pip install sounddevice") from None
    except OSError:  # it doesn't find PortAudio
        raise ValueError("the microphone needs the library PortAudio: apt install libportaudio2") from None
