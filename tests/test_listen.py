"""`listen`: streams and what is answered about them."""

import io
import os
import struct
import threading
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from audio.errors import AudioError
from inference.diarization import monitor, sources
from inference.diarization.monitor import Monitor, Speaking, who_speaks
from inference.diarization.sources import Source, open_source, pcm
from inference.speakers.open_set import Answer
from inference.speakers.search import Match
from inference.verbs import listen as verb

SAMPLES = np.arange(-4_000, 4_000, dtype="<i2")


def wav(samples, *, rate=8_000, kind=1, channels=1, bits=16, length=None):
    """Samples -> a WAV with a chunk before and one after them."""
    layout = struct.pack("<HHIIHH", kind, channels, rate, 0, 0, bits)
    content = samples.tobytes()
    before = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    length = len(content) if length is None else length
    data = b"data" + struct.pack("<I", length) + content
    return b"RIFF\0\0\0\0WAVE" + before + b"fmt " + struct.pack("<I", 16) + layout + data


def heard(content):
    rate, blocks = pcm(io.BytesIO(content))
    return rate, np.concatenate([*blocks, np.empty(0, np.float32)]) * 32768


def test_streams_are_raw_samples_or_wav():
    rate, samples = heard(SAMPLES.tobytes())
    assert rate == 16_000 and samples.tolist() == SAMPLES.tolist()
    rate, samples = heard(wav(SAMPLES) + b"LIST\x04\0\0\0tail")
    assert rate == 8_000 and samples.tolist() == SAMPLES.tolist()
    for endless in (0, 0xFFFFFFFF):  # of programs that write into a pipe
        assert len(heard(wav(SAMPLES, length=endless))[1]) == len(SAMPLES)
    assert len(heard(wav(SAMPLES)[:-101])[1]) == len(SAMPLES) - 51  # half a sample is none
    assert len(heard(b"")[1]) == 0 and len(heard(b"ab")[1]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            wav(SAMPLES, channels=2),
            "got WAV format 1 of 16 bits, 2 channels, 8000 Hz; `ffmpeg -i SOURCE -ac 1",
        ),
        (wav(SAMPLES, kind=3, bits=32), "got WAV format 3 of 32 bits"),
        (wav(SAMPLES, rate=0), "1 channels, 0 Hz"),
        (wav(SAMPLES)[:40], "ends within the WAV header"),
        (
            b"RIFF\0\0\0\0WAVEdata\0\0\0\0",
            "a WAV header without its format; expected 16-bit PCM of one channel",
        ),
    ],
)
def test_other_streams_are_refused(content, message):
    with pytest.raises(AudioError) as error:
        heard(content)
    assert str(error.value).startswith("standard input: ") and message in str(error.value)


def test_a_pipe_is_answered_once_a_second(monkeypatch):
    read, write = os.pipe()
    thread = threading.Thread(
        target=lambda: (os.write(write, wav(np.full(20_400, 500, "<i2"))), os.close(write))
    )
    with os.fdopen(read, "rb") as stream:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=stream, isatty=lambda: False))
        thread.start()
        windows = []

        def answer(window, rate):
            windows.append((len(window), rate))
            return Speaking(True, "anna", 0.5)

        with open_source("-") as source:
            moments = list(Monitor(source, answer).moments())
        thread.join()
    # 2.55 s at 8 kHz: the rest of the last second has an answer, too
    assert windows == [(8_000, 8_000), (16_000, 8_000), (20_400, 8_000)]
    assert [moment.end_s for moment in moments] == [1.0, 2.0, 2.55]
    assert all(0.0 <= moment.delay_s < 5.0 and moment.skipped_s == 0.0 for moment in moments)
    assert verb.lines(moments[0]) == ["     1.0 s   0.5000   anna"]


def test_the_microphone_is_heard_in_blocks_and_gaps_are_told(monkeypatch):
    class Stream:
        def read(self, count):
            return np.full((count, 1), 0.5, np.float32), True

    monkeypatch.setattr(sources, "microphone", lambda: nullcontext((Stream(), 44_100)))
    with open_source(None) as source:
        block = next(source.blocks)
        assert block.shape == (4_410,) and source.is_live and source.rate == 44_100
        next(source.blocks)
        assert source.remarks == ["the recording has gaps: the computer was too busy"]


class Clock:
    """A time that passes only while an answer is computed, and while the stream comes."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):  # noqa: D102
        return self.now


def slow(source, answer_s, is_read):
    """The moments of a stream that is there at once, or comes in time, with answers that take so long."""
    clock = Clock()

    def answer(window, rate):
        is_read.wait(5.0)
        clock.now += answer_s
        return Speaking(False)

    return list(Monitor(source, answer, clock).moments())


def eight_seconds(is_live, is_read):
    def blocks():
        for _ in range(80):
            yield np.zeros(100, np.float32)
        is_read.set()

    return Source(blocks(), 1_000, is_live, [])


def test_what_there_is_no_time_for_is_skipped_and_counted():
    is_read = threading.Event()
    moments = slow(eight_seconds(True, is_read), 3.5, is_read)
    # the first second is answered at 1.0 + 3.5 s: it goes on with the one that ends at 4; that is answered
    # at 8.0 s, when the last one is there
    assert [moment.end_s for moment in moments] == [1.0, 4.0, 8.0]
    assert [moment.skipped_s for moment in moments] == [0.0, 2.0, 3.0]
    assert verb.lines(moments[1])[0] == "  skipped    2.0 s: the computer is too slow"
    # it came at once: what is answered before it would have been said isn't late
    assert [moment.delay_s for moment in moments] == pytest.approx([3.5, 4.0, 3.5])


def test_fast_pipes_and_files_are_answered_whole():
    is_read = threading.Event()
    moments = slow(eight_seconds(True, is_read), 0.25, is_read)
    assert len(moments) == 8 and {moment.delay_s for moment in moments} == {0.25}
    is_read = threading.Event()
    moments = slow(eight_seconds(False, is_read), 3.5, is_read)
    assert len(moments) == 8 and {moment.delay_s for moment in moments} == {3.5}


def test_errors_of_a_stream_are_raised():
    def blocks():
        yield np.zeros(100, np.float32)
        raise OSError("the device is gone")

    with pytest.raises(OSError, match="the device is gone"):
        list(Monitor(Source(blocks(), 1_000, True, []), lambda *_: Speaking(False)).moments())


def test_silence_is_what_isnt_speech_now():
    def identify(recording, top):
        return None, [Match("anna", 0.7)], Answer(None, 0.8, "below")

    book = SimpleNamespace(voice=SimpleNamespace(values=SimpleNamespace(vad="none")), identify=identify)
    generator = np.random.default_rng(0)
    word = 0.1 * np.sin(0.2 * np.arange(8_000)).astype(np.float32)
    window = generator.normal(0.0, 5e-3, 48_000).astype(np.float32)
    assert who_speaks(book, window, 16_000) == Speaking(False)
    window[8_000:16_000] += word  # it ended 2 s ago
    assert who_speaks(book, window, 16_000) == Speaking(False)
    window[36_000:44_000] += word
    assert who_speaks(book, window, 16_000) == Speaking(True, None, 0.7)


def test_ctrl_c_ends_with_a_summary(capsys):
    def answer(window, rate):
        if len(window) > 1_000:
            raise KeyboardInterrupt
        return Speaking(True, None, 0.25)

    verb.follow(Monitor(eight_seconds(True, threading.Event()), answer))
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["     1.0 s   0.2500   unknown", "", "  heard      2.0 s, 0.0 s skipped"]
    assert lines[3].startswith("  delay      0.") and lines[4].endswith("% of a core")
    assert monitor.WINDOW_S == 3.0  # as --help says
