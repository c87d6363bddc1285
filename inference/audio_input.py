"""STAND-IN."""

from typing import NamedTuple
import numpy as np
from audio.recording import AudioFile, Audio, _resample, _ratio, WaveFile


class Waveform(NamedTuple):
    name: str
    samples: Audio
    remarks: tuple[str, ...] = ()


def read_audio(source, channel=-1):
    r = WaveFile.open(source) or AudioFile(source, channel)
    return Waveform(source, r.whole(), tuple(r.remarks))


def waveform_of(samples, rate):
    a = np.asarray(samples, np.float32)
    return Waveform("waveform", a if rate == 16000 else _resample(a, *_ratio(rate)))


def warnings_of(read, heard):
    return read.remarks + tuple(heard.remarks)
