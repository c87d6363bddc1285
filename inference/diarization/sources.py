"""What `listen` hears: a microphone, a stream on standard input, or a file, in blocks of 0.1 s."""

import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from audio.errors import AudioError
from audio.recording import SAMPLE_RATE, Audio
from inference.audio_input import STANDARD_INPUT, microphone, read_audio

BLOCK_S = 0.1
NAME_OF_STREAM = "standard input"
EXPECTED = "expected 16-bit PCM of one channel, raw at 16 kHz or as WAV of any rate"
ADVICE = "`ffmpeg -i SOURCE -ac 1 -c:a pcm_s16le -f wav -` makes it"
ENDLESS = (
    0x7FFFF000  # bytes of a WAV's samples, from which on the length is one of a program that didn't know
)
PCM, EXTENSIBLE = 1, 0xFFFE  # formats of WAV
RATES = range(1000, 384_001)  # Hz


class Source(NamedTuple):
    """Samples as they come."""

    blocks: Iterator[Audio]  # (T,) in [-1, 1]
    rate: int  # Hz
    is_live: bool  # they come at the pace of speech, and won't wait
    remarks: list[str]  # for people; complete when the blocks are at their end


@contextmanager
def open_source(file: str | None) -> Iterator[Source]:
    """A path, "-" for standard input, None for the microphone -> its samples.

    Raises:
        ValueError: there is no microphone, or it needs a package.
        AudioError: the recording can't be read, or the stream is of another format.
    """
    remarks = list[str]()
    if file is None:
        with microphone() as (stream, rate):
            yield Source(_from_microphone(stream, rate, remarks), rate, True, remarks)
    elif file == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise AudioError(f"{NAME_OF_STREAM}: a terminal, or closed; {EXPECTED}; {ADVICE}")
        rate, blocks = pcm(sys.stdin.buffer)
        yield Source(blocks, rate, True, remarks)
    else:
        waveform, remarks = read_audio(file)
        size = round(BLOCK_S * SAMPLE_RATE)
        blocks = (waveform[start : start + size] for start in range(0, len(waveform), size))
        yield Source(blocks, SAMPLE_RATE, False, remarks)


def pcm(stream: BinaryIO) -> tuple[int, Iterator[Audio]]:
    """A stream of WAV, or of raw samples at SAMPLE_RATE -> its rate in Hz, its samples in blocks.

    Raises:
        AudioError: a WAV of another format.
    """
    begin = stream.read(4)
    if begin != b"RIFF":
        return SAMPLE_RATE, _blocks(stream, SAMPLE_RATE, begin, None)
    stream.read(8)  # the length, and the word WAVE
    layout = b""
    while True:
        name, length = struct.unpack("<4sI", _exactly(stream, 8))
        if name == b"data":
            break
        content = _exactly(stream, length + length % 2)
        layout = content if name == b"fmt " else layout
    if len(layout) < 16:
        raise AudioError(f"{NAME_OF_STREAM}: a WAV header without its format; {EXPECTED}")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", layout[:16])
    if kind not in (PCM, EXTENSIBLE) or bits != 16 or channels != 1 or rate not in RATES:
        raise AudioError(
            f"{NAME_OF_STREAM}: {EXPECTED}, got WAV format {kind} of {bits} bits, {channels} channels, "
            f"{rate} Hz; {ADVICE}"
        )
    return rate, _blocks(stream, rate, b"", None if length == 0 or length >= ENDLESS else length)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise AudioError(f"{NAME_OF_STREAM}: ends within the WAV header")
    return content


def _blocks(stream: BinaryIO, rate: int, begin: bytes, num_bytes: int | None) -> Iterator[Audio]:
    """A stream, its rate, bytes that were read of it, bytes that follow if known -> samples in blocks."""
    size = 2 * round(BLOCK_S * rate)
    left = num_bytes
    while True:
        count = size - len(begin)
        content = begin + stream.read(count if left is None else min(count, left))
        left = None if left is None else left - len(content)
        begin = b""
        whole = len(content) // 2 * 2
        if not whole:
            return
        yield np.frombuffer(content[:whole], "<i2").astype(np.float32) / np.float32(32768)


def _from_microphone(stream: Any, rate: int, remarks: list[str]) -> Iterator[Audio]:
    while True:
        block, is_late = stream.read(round(BLOCK_S * rate))
        if is_late and not remarks:
            remarks.append("the recording has gaps: the computer was too busy")
        yield block[:, 0]
