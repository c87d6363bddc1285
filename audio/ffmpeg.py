"""ffmpeg: recordings of other formats -> samples. Only dataprep.py --convert starts it."""

import importlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from audio.recording import SAMPLE_RATE, Samples

# Formats that ffmpeg may open. Playlists (hls, concat, dash) are not among them: they name other files.
CONTAINERS = "aac,ac3,aiff,amr,ape,asf,avi,caf,flac,flv,matroska,mov,mp3,mpegts,nistsphere,ogg,tta,wav,wv"
READ = ["-protocol_whitelist", "file", "-format_whitelist", CONTAINERS, "-i"]
# The times of samples are counted: they begin anew where one stream follows another, which is an error.
AS_SAMPLES = ["-af", "asetpts=N/SR/TB", "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le"]
TIME_LIMIT_S = 600  # for one call
COMPONENT = re.compile(
    r"(\[[^]]* @ 0x[0-9a-f]+\] )+"
)  # component of ffmpeg that an error comes from, and its address
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


def decode(sources: Sequence[Path], ffmpeg: str = "") -> list[Samples]:
    """Files, path of ffmpeg ("" = search for it) -> samples (T,) of each at 16 kHz, channels mixed down.

    Raises:
        ValueError: ffmpeg isn't installed, takes too long, or prints any error.
    """
    with ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in sources]
        places = [output.fileno() for output in outputs]
        command = [ffmpeg or find_ffmpeg(), "-nostdin", "-v", "error"]
        for source in sources:
            command += [*READ, f"file:{source}"]
        for i, place in enumerate(places):
            command += ["-map", f"{i}:a:0", *AS_SAMPLES, f"pipe:{place}"]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIME_LIMIT_S, pass_fds=places)
        except subprocess.TimeoutExpired:
            raise ValueError(f"ffmpeg was stopped after {TIME_LIMIT_S} s") from None
        # For a damaged file it decodes a part, and may still exit with 0.
        errors = done.stderr.decode(errors="replace").strip()
        if errors or done.returncode:
            last = COMPONENT.sub("", errors.rpartition("\n")[2])[:MAX_ERROR_LENGTH]
            raise ValueError(f"ffmpeg: {last or f'exit status {done.returncode}'}")
        for output in outputs:
            output.seek(0)
        return [np.frombuffer(output.read(), "<i2") for output in outputs]
