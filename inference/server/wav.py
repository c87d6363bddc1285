"""16-bit WAV in memory, the one format that the server reads: no decoder sees what a request sends."""

import io
import wave

import numpy as np
from numpy.typing import NDArray

from inference.audio_input import MOST_CHANNELS
from inference.server.limits import Limits, RefusedError

NOT_WAV = 415
UNUSABLE = 422


def read_wav(content: bytes, limits: Limits) -> tuple[NDArray[np.int16], int]:
    """A WAV file -> samples (T, C), sample rate in Hz.

    Raises:
        RefusedError: another format, a header that promises other samples than there are, or too long.
    """
    try:
        with wave.open(io.BytesIO(content)) as file:
            header = file.getparams()
            if header.sampwidth != 2:
                raise RefusedError(NOT_WAV, f"expected 16-bit samples, got {8 * header.sampwidth}-bit ones")
            data = file.readframes(header.nframes)
    except (wave.Error, EOFError, OverflowError) as error:
        raise RefusedError(NOT_WAV, "expected a WAV file of 16-bit PCM samples") from error
    num_channels, rate = header.nchannels, header.framerate
    promised = 2 * num_channels * header.nframes
    if not 1 <= num_channels <= MOST_CHANNELS:
        raise RefusedError(UNUSABLE, f"expected 1 to {MOST_CHANNELS} channels, got {num_channels}")
    if not 1000 <= rate <= 768_000:
        raise RefusedError(UNUSABLE, f"expected a sample rate of 1,000 to 768,000 Hz, got {rate}")
    if not data or len(data) != promised:
        raise RefusedError(UNUSABLE, f"the header promises {promised} bytes, there are {len(data)}")
    if header.nframes > limits.longest_s * rate:
        raise RefusedError(413, f"expected at most {limits.longest_s:g} s, got {header.nframes / rate:.0f}")
    return np.frombuffer(data, "<i2").reshape(-1, num_channels), rate
