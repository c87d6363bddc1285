"""ffmpeg: recordings of other formats -> samples.

Only dataprep.py --convert starts it, and audio/any_format.py, which reads what inferSpeakerNet.py is given.
"""

import importlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from audio.errors import AudioError, too_long
from audio.recording import (
    ALL_CHANNELS,
    SAMPLE_RATE,
    Samples,
    mix_down,
    require_channel,
    to_int16,
)

# Suffixes of recordings, and ffmpeg's name of their format: those that only ffmpeg reads, and those that
# libsndfile reads too.
ENCODED = {
    "3g2": "mov",
    "3gp": "mov",
    "aac": "aac",
    "ac3": "ac3",
    "amr": "amr",
    "ape": "ape",
    "avi": "avi",
    "eac3": "eac3",
    "flv": "flv",
    "m4a": "mov",
    "m4b": "mov",
    "m4v": "mov",
    "mka": "matroska",
    "mkv": "matroska",
    "mov": "mov",
    "mp4": "mov",
    "spx": "ogg",
    "ts": "mpegts",
    "tta": "tta",
    "weba": "matroska",
    "webm": "matroska",
    "wma": "asf",
    "wmv": "asf",
    "wv": "wv",
}
ALSO_BY_LIBSNDFILE = {
    "aif": "aiff",
    "aifc": "aiff",
    "aiff": "aiff",
    "au": "au",
    "caf": "caf",
    "flac": "flac",
    "mp2": "mp3",
    "mp3": "mp3",
    "nist": "nistsphere",
    "oga": "ogg",
    "ogg": "ogg",
    "opus": "ogg",
    "snd": "au",
    "sph": "nistsphere",
    "w64": "w64",
    "wav": "wav",
    "wave": "wav",
}
# Formats that ffmpeg may open. Playlists (hls, concat, dash) are not among them: they name other files.
CONTAINERS = ",".join(sorted({*ENCODED.values(), *ALSO_BY_LIBSNDFILE.values()}))
READ = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i"]
# The times of samples are counted: they begin anew where one stream follows another, which is an error.
# All channels are written, as AU because its header says how many, and may leave the size open, which is
# then not limited to 4 GiB: ffmpeg would mix them down to silence where they are in opposite phase.
AS_SAMPLES = ["-af", "asetpts=N/SR/TB", "-c:a", "pcm_s16be", "-ar", str(SAMPLE_RATE), "-f", "au"]
SEVERAL_STREAMS = "does not support more than one stream"  # of AU: all audio streams of a file are mapped
TIME_LIMIT_S = 600  # for one call
LARGEST_OUTPUT = 1 << 30  # bytes of samples in all channels, where the duration is limited, too
# component of ffmpeg that an error comes from, and its address
COMPONENT = re.compile(r"(\[[^]]* @ 0x[0-9a-f]+\] )+")
MAX_ERROR_LENGTH = 200  # characters


def find_ffmpeg() -> str:
    """Path of ffmpeg, on PATH or in the package imageio-ffmpeg; raises ValueError if neither has it."""
    if path := shutil.which("ffmpeg"):
        return path
    try:
        return str(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # RuntimeError: the package without its program
        raise ValueError(
            "ffmpeg is needed to read m4a, mp4, aac and similar formats, and isn't installed: "
            "apt install ffmpeg, brew install ffmpeg or pip install imageio-ffmpeg"
        ) from None


def decode(
    sources: Sequence[Path], ffmpeg: str = "", channel: int = ALL_CHANNELS, longest_s: float = math.inf
) -> list[Samples]:
    """Files, path of ffmpeg ("" = search for it) -> samples (T,) of each at 16 kHz.

    channel: the one that is taken of several, 0 the first; ALL_CHANNELS: they are mixed down.
    longest_s: a file that lasts longer is refused, and not decoded further.

    Raises:
        ValueError: ffmpeg isn't installed, takes too long, or prints any error; or a file has several
            audio streams, is too long or lacks the channel.
    """
    limits = list[str]()
    if longest_s < math.inf:
        limits = ["-t", f"{longest_s + 1:g}", "-fs", str(LARGEST_OUTPUT)]
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in sources]
        places = [output.fileno() for output in outputs]
        command = [ffmpeg or find_ffmpeg(), "-nostdin", "-v", "error"]
        for source in sources:
            command += [*READ, f"file:{source}"]
        for i, place in enumerate(places):
            command += ["-map", f"{i}:a", *limits, *AS_SAMPLES, f"pipe:{place}"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT_S, pass_fds=places)
        except subprocess.TimeoutExpired:
            raise ValueError(f"ffmpeg was stopped after {TIME_LIMIT_S} s") from None
        # For a damaged file it decodes a part, and may still exit with 0.
        errors = done.stderr.decode(errors="replace").strip()
        if SEVERAL_STREAMS in errors:
            raise ValueError("holds several audio streams; extract one: ffmpeg -i FILE -map 0:a:0 NEW.wav")
        if errors or done.returncode:
            last = COMPONENT.sub("", errors.rpartition("\n")[2])[:MAX_ERROR_LENGTH]
            raise ValueError(f"ffmpeg: {last or f'exit status {done.returncode}'}")
        pairs = zip(outputs, sources, strict=True)
        return [_read(output, str(source), channel, longest_s) for output, source in pairs]


def _read(output: BinaryIO, source: str, channel: int, longest_s: float) -> Samples:
    """AU file that ffmpeg wrote of a source -> one channel (T,)."""
    size = output.seek(0, os.SEEK_END)
    if size == 0:  # without samples ffmpeg writes no header either
        return np.zeros(0, np.int16)
    output.seek(0)
    with soundfile.SoundFile(output) as file:
        if file.frames > longest_s * SAMPLE_RATE:
            raise AudioError(f"{source}: {too_long(longest_s)}")
        if longest_s < math.inf and size >= LARGEST_OUTPUT:
            raise AudioError(f"{source}: {file.channels} channels take more than 1 GiB; cut it into pieces")
        require_channel(source, channel, file.channels)
        if file.channels > 1 and channel == ALL_CHANNELS:
            return to_int16(mix_down(file.read(dtype="float32"))[0])
        samples: Samples = file.read(dtype="int16", always_2d=True)
    return samples[:, max(channel, 0)]
