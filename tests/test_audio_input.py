"""What users give as audio: files of any format, standard input, waveforms, microphone; malformed files."""

import importlib
import io
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from conftest import voice
from malformed_audio import malformed

from audio.errors import AudioError
from audio.recording import OPPOSITE_PHASE
from inference import audio_input
from inference.audio_input import from_samples, read_audio, record
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
    """What is wrong about the samples that were read, "" if nothing; the last ones of a cut file may be."""
    if len(waveform) != len(case.expected) and (not case.may_fail or len(waveform) > len(case.expected)):
        return f"{len(waveform)} samples, not {len(case.expected)}"
    count = len(waveform) - (2 * FRAME if case.may_fail else 0)
    known = np.isfinite(case.expected[:count])
    distance = np.abs(waveform[:count] - case.expected[:count])[known].max(initial=0.0)
    return f"{distance:.2g} apart" if distance > TOLERANCE else ""


def assert_each_is_an_answer(cases):
    """That each case is read rightly or refused in one line that names it, soon and within bounds."""
    importlib.import_module("scipy.signal")  # takes seconds on a busy machine
    before = signal.signal(signal.SIGALRM, too_slow)
    try:
        with bounded_memory():
            wrong = {case.path: fault for case in cases if (fault := outcome(case))}
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not wrong


def test_malformed_files_are_refused_in_one_line(tmp_path, no_ffmpeg):
    cases = list(malformed(tmp_path, voice(0, 0, 0.5), step=6))
    assert len(cases) >= 250
    assert_each_is_an_answer(cases)


@pytest.mark.slow
def test_malformed_files_of_all_formats_are_refused_in_one_line(tmp_path, ffmpeg):
    """With ffmpeg, which is asked for what libsndfile doesn't read."""
    assert_each_is_an_answer(malformed(tmp_path, voice(0, 0, 0.5), ffmpeg, step=6))


WAVE = np.array([0.5, -0.25, 0.125, 0.0], np.float32)
PCM = np.array([16_384, -8192, 4096, 0], np.int16)


@pytest.mark.parametrize(
    "samples",
    [
        WAVE,
        WAVE.astype(np.float64),
        WAVE.astype(np.float16),
        WAVE.astype(">f4"),
        PCM,
        PCM.astype(np.int32) << 16,
        WAVE[:, None],
        WAVE[None],
        torch.from_numpy(WAVE).requires_grad_(),
        torch.from_numpy(WAVE).bfloat16(),
        torch.from_numpy(PCM),
    ],
    ids=[
        "f4",
        "f8",
        "f2",
        "other byte order",
        "i2",
        "i4",
        "(T, 1)",
        "(1, T)",
        "tensor",
        "bf16",
        "int tensor",
    ],
)
def test_waveforms_in_memory(samples):
    waveform, remarks = from_samples(samples, 16_000)
    np.testing.assert_array_equal(waveform, WAVE)
    assert waveform.dtype == np.float32 and remarks == []


def test_channels_in_memory_are_mixed_down_or_chosen():
    """(0.5 + 0.1) / 2 = 0.3 and (-0.25 + 0.05) / 2 = -0.1; in opposite phase the first is taken."""
    two = np.array([[0.5, 0.1], [-0.25, 0.05], [0.0, 0.0]], np.float32)
    for samples in (two, two.T):
        waveform, remarks = from_samples(samples, 16_000)
        np.testing.assert_allclose(waveform, [0.3, -0.1, 0.0], rtol=1e-6)
        assert remarks == ["2 channels mixed down to one"]
        np.testing.assert_array_equal(from_samples(samples, 16_000, channel=1).waveform, two[:, 1])
    waveform, remarks = from_samples(np.stack([WAVE, -WAVE]), 16_000)
    np.testing.assert_array_equal(waveform, WAVE)
    assert remarks == ["2 channels mixed down to one", OPPOSITE_PHASE]


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_waveforms_and_files_of_other_rates_become_the_same(rate, tmp_path):
    samples = voice(0, 0, 0.5, rate)
    soundfile.write(tmp_path / "a.wav", samples, rate, "FLOAT")
    of_file = read_audio(tmp_path / "a.wav")
    of_memory = from_samples(samples, float(rate))
    np.testing.assert_array_equal(of_file.waveform, of_memory.waveform)
    assert len(of_file.waveform) == 8000
    narrow = ["recorded at 8000 Hz: nothing above 4000 Hz, as on a telephone"] if rate == 8000 else []
    assert of_file.remarks == of_memory.remarks == [f"resampled from {rate} to 16000 Hz", *narrow]


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        ([0.1, 0.2], 16_000, "expected a NumPy array or PyTorch tensor of float, int16 or int32, got list"),
        (np.zeros(9, np.uint8), 16_000, "of float, int16 or int32, got uint8"),
        (np.zeros(9, np.int64), 16_000, "of float, int16 or int32, got int64"),
        (torch.zeros(9, dtype=torch.complex64), 16_000, "got complex64"),
        (np.zeros(0), 16_000, "holds no samples"),
        (np.zeros((3, 3)), 16_000, "expected the shape (T,), (T, C) or (C, T)"),
        (np.zeros((70, 80)), 16_000, "with at most 64 channels C, fewer than samples T, got (70, 80)"),
        (np.zeros((1, 2, 300)), 16_000, "got (1, 2, 300)"),
        (np.float32(0.5), 16_000, "got float32"),
        (np.array([0.1, np.nan]), 16_000, "holds samples that are not finite numbers"),
        (np.array([0.1, -np.inf]), 16_000, "holds samples that are not finite numbers"),
        (np.array([0.1, 1e300]), 16_000, "holds samples that are not finite numbers"),
        (
            np.array([0.1, -3000.0]),
            16_000,
            "expected samples in [-1, 1], got 3000; divide 16-bit ones by",
        ),
        (WAVE, 999, "its sample rate is 999 Hz, expected 1000 to 768000 Hz"),
        (WAVE, 16_000.5, "expected a sample rate in Hz, a whole number, got 16000.5"),
        (WAVE, "16000", "expected a sample rate in Hz, a whole number, got '16000'"),
        (np.broadcast_to(np.float32(0), 14_400_001), 1000, "lasts longer than 4 h"),
    ],
)
def test_other_waveforms_are_refused(samples, rate, words):
    with pytest.raises(AudioError) as caught:
        from_samples(samples, rate)
    message = str(caught.value)
    assert message.startswith("waveform: ") and words in message and message.isprintable()


def test_a_channel_that_is_not_there():
    with pytest.raises(AudioError, match=r"^waveform: has no channel 1: it has 1, and --channel"):
        from_samples(WAVE, 16_000, channel=1)


@pytest.fixture
def standard_input(monkeypatch):
    """Function that gives bytes to standard input."""

    def give(content):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def test_standard_input_may_hold_any_format(standard_input, tmp_path):
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, voice(0, 0), 16_000)
        standard_input(path.read_bytes())
        np.testing.assert_array_equal(read_audio("-").waveform, read_audio(path).waveform)


def test_standard_input_may_hold_what_ffmpeg_reads(standard_input, ffmpeg, tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(0, 0), 8000)
    subprocess.run([ffmpeg, "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    standard_input((tmp_path / "a.m4a").read_bytes())
    waveform, remarks = read_audio("-")
    np.testing.assert_array_equal(waveform, read_audio(tmp_path / "a.m4a").waveform)
    assert remarks == [] and abs(len(waveform) - 32_000) < 3000  # AAC pads


def test_standard_input_is_named_when_it_cannot_be_used(standard_input, no_ffmpeg, monkeypatch):
    def refusal(content):
        standard_input(content)
        with pytest.raises(AudioError, match=r"^standard input: [^\n]+$") as caught:
            read_audio("-")
        return str(caught.value)

    assert "empty, 0 bytes" in refusal(b"")
    message = refusal(b"this is no recording")
    assert "not wav, flac, ogg, opus or mp3; ffmpeg is needed" in message and "/tmp" not in message
    monkeypatch.setattr(audio_input, "LARGEST_STREAM", 1000)
    assert "more than 1e-06 GB" in refusal(bytes(1001))
    monkeypatch.setattr("sys.stdin", mock.Mock(isatty=lambda: True))
    with pytest.raises(AudioError, match=r"^standard input: a terminal, or closed; write"):
        read_audio("-")


class Microphone:
    """In place of the package sounddevice: a device at 8 kHz that hears 0.25."""

    class PortAudioError(Exception):
        """Of the package."""

    def __init__(self, interrupted_after=None, is_late=False, missing=False):
        self.blocks = 0
        self.interrupted_after, self.is_late, self.missing = interrupted_after, is_late, missing

    def query_devices(self, kind):  # noqa: D102
        if self.missing:
            raise self.PortAudioError("Error querying\ndevice -1")
        return {"default_samplerate": 8000.0}

    @contextmanager
    def InputStream(self, samplerate, channels, dtype):  # noqa: D102, N802
        assert (samplerate, channels, dtype) == (8000, 1, "float32")
        yield self

    def read(self, count):  # noqa: D102
        if self.blocks == self.interrupted_after:
            raise KeyboardInterrupt
        self.blocks += 1
        return np.full((count, 1), 0.25, np.float32), self.is_late


@pytest.fixture
def microphone(monkeypatch):
    """Function that connects a microphone."""
    return lambda **properties: monkeypatch.setitem(sys.modules, "sounddevice", Microphone(**properties))


REMARKS = ["resampled from 8000 to 16000 Hz", "recorded at 8000 Hz: nothing above 4000 Hz, as on a telephone"]


def test_the_microphone_is_recorded_for_a_time_or_until_ctrl_c_or_enter(microphone, monkeypatch):
    microphone()
    on_start = mock.Mock()
    waveform, remarks = record(0.55, on_start)
    on_start.assert_called_once_with()
    assert len(waveform) == 8800 and remarks == REMARKS
    np.testing.assert_allclose(waveform[200:-200], 0.25, atol=1e-3)
    microphone(interrupted_after=3, is_late=True)
    waveform, remarks = record(0.55)  # 3 blocks of 0.1 s
    assert len(waveform) == 4800 and remarks[-1] == "the recording has gaps: the computer was too busy"
    microphone()
    monkeypatch.setattr(audio_input, "_enter_pressed", mock.Mock(side_effect=[False, False, True]))
    assert len(record(0.55).waveform) == 3200


def test_why_the_microphone_cannot_be_used(microphone, monkeypatch):
    microphone(missing=True)
    with pytest.raises(ValueError, match=r"^the microphone can't be used: Error querying device -1; is one "):
        record(1.0, mock.Mock(side_effect=AssertionError))  # nobody is told to speak
    microphone(interrupted_after=0)
    with pytest.raises(AudioError, match=r"^microphone: nothing was recorded$"):
        record(1.0)
    with pytest.raises(ValueError, match=r"^expected a duration over 0 s and at most 14400 s, got 0 s$"):
        record(0.0)
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ValueError, match=r"^the microphone needs a package: pip install sounddevice$"):
        record(1.0)
    monkeypatch.setattr(importlib, "import_module", mock.Mock(side_effect=OSError("no PortAudio")))
    with pytest.raises(ValueError, match=r"PortAudio: apt install libportaudio2$"):
        record(1.0)


def test_enter_ends_a_recording_at_a_terminal(monkeypatch):
    main, terminal = os.openpty()
    with os.fdopen(terminal) as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert not audio_input._enter_pressed()
        os.write(main, b"\n")
        assert audio_input._enter_pressed() and not audio_input._enter_pressed()
    os.close(main)


def test_long_recordings_are_refused_before_all_is_decoded(monkeypatch, tmp_path):
    """20 s of FLAC without a length, of MP3 and of WAV, where 1 s is the limit."""
    monkeypatch.setattr(audio_input, "LONGEST_S", 1.0)
    paths = [tmp_path / f"a.{suffix}" for suffix in ("flac", "mp3", "wav")]
    for path in paths:
        soundfile.write(path, np.zeros(320_000, np.int16), 16_000)
    content = bytearray(paths[0].read_bytes())
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # the 36 bits that count the samples
    paths[0].write_bytes(content)
    counts = []
    read = soundfile.SoundFile.read
    counted = lambda file, count, **kw: (counts.append(count), read(file, count, **kw))[1]  # noqa: E731
    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for path in paths:
        with pytest.raises(AudioError, match=r"a\.\w+: lasts longer than 0\.000277778 h, the longest"):
            read_audio(path)
    assert counts == [1 << 16]  # of FLAC; the others say how long they are


def test_long_recordings_are_refused_before_ffmpeg_decodes_all(monkeypatch, ffmpeg, tmp_path):
    path = tmp_path / "a.mka"
    source = ["-f", "lavfi", "-i", "anullsrc=r=16000:cl=stereo", "-t", "5", "-c:a", "flac"]
    subprocess.run([ffmpeg, "-v", "error", *source, path], check=True)
    assert len(read_audio(path).waveform) == 80_000
    monkeypatch.setattr("audio.ffmpeg.LARGEST_OUTPUT", 200_000)  # bytes; 5 s take 320,000
    with pytest.raises(AudioError, match=r"a\.mka: 2 channels take more than 1 GiB; cut it into pieces$"):
        read_audio(path)
    monkeypatch.setattr(audio_input, "LONGEST_S", 2.0)
    with pytest.raises(AudioError, match=r"a\.mka: lasts longer than"):
        read_audio(path)


def test_many_channels_have_less_time(monkeypatch, tmp_path):
    monkeypatch.setattr(audio_input, "MOST_SAMPLES", 100_000)
    soundfile.write(tmp_path / "a.wav", np.zeros((60_000, 2), np.int16), 16_000)
    with pytest.raises(AudioError, match=r"a\.wav: 2 channels at 16000 Hz are read up to 3 s, it lasts 4 s"):
        read_audio(tmp_path / "a.wav")
