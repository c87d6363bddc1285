"""What users give as audio: files of any format, standard input, waveforms, the microphone; malformed files."""

import resource
import signal
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import voice
from malformed_audio import malformed

from audio.errors import AudioError
from inference.audio_input import read_audio
from metrics.fields import shown

TIME_LIMIT_S = 10.0  # for one file
TOLERANCE = 2e-4  # ffmpeg's samples have 16 bits
FRAME = 1152  # samples of MP3 and AAC that are decoded together, and with what follows them
MEMORY = 3 << 29  # bytes more than the process has at the beginning


@contextmanager
def bounded_memory():
    """Context in which the process may take only so much more; what is too much is a MemoryError."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        pages = int(file.read().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def too_slow(*_):
    raise TimeoutError


def outcome(case):
    """What is wrong about the outcome of a case, "" if nothing is."""
    signal.setitimer(signal.ITIMER_REAL, TIME_LIMIT_S)
    try:
        waveform, _ = read_audio(case.path)
    except AudioError as error:
        message = str(error)
        if case.path and not message.startswith(f"{shown(case.path)}: "):
            return f"the file isn't named: {message}"
        if not message.isprintable() or "memory" in message:
            return f"message {message!r}"
        return "" if case.may_fail else f"refused: {message}"
    except TimeoutError:
        return "it takes too long"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if not case.may_be_read:
        return f"read, {len(waveform)} samples"
    if waveform.dtype != np.float32 or waveform.ndim != 1 or not np.isfinite(waveform).all():
        return f"{waveform.dtype} {waveform.shape}"
    return "" if case.expected is None else difference(case, waveform)


def difference(case, waveform):
    """What is wrong about the samples that were read, "" if nothing is; the last ones of a cut file may be."""
    if len(waveform) != len(case.expected) and (not case.may_fail or len(waveform) > len(case.expected)):
        return f"{len(waveform)} samples, not {len(case.expected)}"
    count = len(waveform) - (2 * FRAME if case.may_fail else 0)
    known = np.isfinite(case.expected[:count])
    distance = np.abs(waveform[:count] - case.expected[:count])[known].max(initial=0.0)
    return f"{distance:.2g} apart" if distance > TOLERANCE else ""


def assert_each_is_an_answer(cases):
    """That each case is read rightly or refused in one line that names it, soon and within bounds."""
    before = signal.signal(signal.SIGALRM, too_slow)
    try:
        with bounded_memory():
            wrong = {case.path: fault for case in cases if (fault := outcome(case))}
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not wrong


def test_malformed_files_are_refused_in_one_line(tmp_path, no_ffmpeg):
    cases = list(malformed(tmp_path, voice(0, 0, 0.5), step=3))
    assert len(cases) >= 250
    assert_each_is_an_answer(cases)


@pytest.mark.slow
def test_malformed_files_of_all_formats_are_refused_in_one_line(tmp_path, ffmpeg):
    """With ffmpeg, which is asked for what libsndfile doesn't read."""
    assert_each_is_an_answer(malformed(tmp_path, voice(0, 0, 0.5), ffmpeg, step=4))
