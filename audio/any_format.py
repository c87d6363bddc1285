"""Recordings of any format: by libsndfile where it reads the file whole, otherwise by ffmpeg."""

import math
import re
from pathlib import Path

from audio.errors import ADVICE, AudioError, UnsupportedAudioError
from audio.ffmpeg import ALSO_BY_LIBSNDFILE, ENCODED, decode
from audio.file_status import status_of
from audio.recording import ALL_CHANNELS, AudioFile, Recording, RecordingInMemory
from audio.streams import require_one_stream

NO_SAMPLES = "holds no samples"
# names of recordings of any format, many of which training doesn't read
NAMES = re.compile(rf".+\.({'|'.join([*ENCODED, *ALSO_BY_LIBSNDFILE])})", re.IGNORECASE | re.DOTALL)


def open_any(
    path: str, channel: int = ALL_CHANNELS, *, longest_s: float = math.inf, ffmpeg: str = ""
) -> Recording:
    """Path of a recording of any format -> the recording.

    Args:
        path: of a file; what it is called matters only for formats that libsndfile would take for others.
        channel: the one that is taken of several, 0 the first; ALL_CHANNELS: they are mixed down.
        longest_s: a longer recording is refused before all of it is decoded.
        ffmpeg: path of the program; "" = search for it if it is needed.

    Raises:
        AudioError: not a file, missing, unreadable, truncated, empty, too long or without this channel, or
            ffmpeg is needed and not installed.
    """
    status_of(path)
    if is_encoded(path):
        return _decoded(path, channel, longest_s, ffmpeg)
    try:
        recording = AudioFile(path, channel, longest_s)
        require_one_stream(path)
    except UnsupportedAudioError as error:
        reason = error.reason(path).removesuffix(f"; {ADVICE}")
    else:
        return recording
    try:
        return _decoded(path, channel, longest_s, ffmpeg)
    except AudioError as error:
        other = error.reason(path).replace(NO_SAMPLES, "ffmpeg finds none either")
        raise AudioError(f"{path}: {reason}; {other}") from None


def is_encoded(path: str) -> bool:
    """Whether a file has the name of a format that only ffmpeg reads."""
    return Path(path).suffix.lower().removeprefix(".") in ENCODED


def _decoded(path: str, channel: int, longest_s: float, ffmpeg: str) -> Recording:
    """File -> what ffmpeg decodes it to; the path may begin with `-`, and so is made absolute."""
    source = Path(path).absolute()
    try:
        [samples] = decode([source], ffmpeg, channel, longest_s)
    except AudioError as error:
        raise AudioError(f"{path}: {error.reason(str(source))}") from None
    except ValueError as error:
        raise AudioError(f"{path}: {error}") from None
    if len(samples) == 0:
        raise AudioError(f"{path}: {NO_SAMPLES}")
    return RecordingInMemory(path, samples)
