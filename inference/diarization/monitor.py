"""Who is speaking, once a second, over a window that slides along a stream."""

import time
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread
from typing import NamedTuple

import numpy as np

from audio.recording import SAMPLE_RATE, Audio
from audio.vad import DETECTORS, HOP, LEAST_SPEECH_S, energy
from inference.audio_input import from_samples
from inference.diarization.sources import BLOCK_S, Source
from inference.speakers.identification import SpeakerBook

WINDOW_S = 3.0
STEP_S = 1.0
SPEAKING_S = 0.3  # of the last second that must be speech, with the detector's hangover
KEPT_S = 10.0  # of a stream, before it has to wait


class Speaking(NamedTuple):
    """Whether somebody speaks, and who."""

    is_speech: bool
    name: str | None = None  # of an enrolled speaker
    score: float | None = None  # of the most similar one


class Moment(NamedTuple):
    """The answer at the end of a second."""

    end_s: float  # in the stream
    speaking: Speaking
    delay_s: float  # from when the last samples had come to the answer
    skipped_s: float  # before it, without an answer, because the computer was too slow


def warm_up(book: SpeakerBook) -> None:
    """Do once what only the first answer would take long for: libraries are loaded, memory is allotted."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, (1, round(WINDOW_S * SAMPLE_RATE)))
    book.voice.embed_windows([noise.astype(np.float32)])
    book.search.count()


def who_speaks(book: SpeakerBook, window: Audio, rate: int) -> Speaking:
    """Voice and database, the last seconds of a stream (T,), its rate in Hz -> who speaks at its end."""
    waveform = from_samples(window, rate).waveform
    speech = DETECTORS.get(book.voice.values.vad, energy)(waveform)
    last = speech.hops[-round(STEP_S * SAMPLE_RATE / HOP) :]
    if speech.duration_s < LEAST_SPEECH_S or last.sum() * HOP / SAMPLE_RATE < SPEAKING_S:
        return Speaking(False)
    _, ranked, answer = book.identify((waveform, SAMPLE_RATE), top=1)
    return Speaking(True, answer.name, ranked[0].score if ranked else None)


class Monitor:
    """Takes a stream second by second, and leaves out what it has no time for."""

    def __init__(
        self,
        source: Source,
        answer: Callable[[Audio, int], Speaking],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A stream, what answers for a window and its rate, what tells the time in seconds."""
        self.source = source
        self.answer = answer
        self.clock = clock
        self.window = np.empty(0, np.float32)
        self.num_samples = 0  # of the stream, that were taken
        self._waiting: Queue[tuple[float, Audio | Exception | None]] = Queue(round(KEPT_S / BLOCK_S))

    @property
    def heard_s(self) -> float:
        """Seconds of the stream that were taken."""
        return self.num_samples / self.source.rate

    def moments(self) -> Iterator[Moment]:
        """Answers until the stream ends; what is left of the last second has one, too.

        Raises:
            AudioError, ValueError, OSError: the stream can't be read, or there is no answer.
        """
        Thread(target=self._read, daemon=True).start()
        started: float | None = None
        is_open = True
        while is_open:
            begin_s, skipped_s = self.heard_s, 0.0
            arrived, is_open = self._take()
            if started is None:
                started = arrived - self.heard_s
            while is_open and self._is_behind(started):
                skipped_s = self.heard_s - begin_s
                arrived, is_open = self._take()
            if self.heard_s == begin_s:  # the stream ended with a whole second
                return
            taken = self.clock()
            # a pipe may be filled faster than people speak: what comes before its time isn't late
            since = max(arrived, min(started + self.heard_s, taken)) if self.source.is_live else taken
            speaking = self.answer(self.window, self.source.rate)
            yield Moment(self.heard_s, speaking, self.clock() - since, skipped_s)

    def _read(self) -> None:
        """Put the stream into the queue, block by block; None at its end."""
        try:
            for block in self.source.blocks:
                self._waiting.put((self.clock(), block))
            self._waiting.put((self.clock(), None))
        except Exception as error:  # for the thread that answers to raise
            self._waiting.put((self.clock(), error))

    def _take(self) -> tuple[float, bool]:
        """Move the window on by a second -> when the last of it had come, whether the stream goes on."""
        left = round(STEP_S * self.source.rate)
        pieces = [self.window]
        arrived = 0.0
        block: Audio | Exception | None = None
        while left > 0:
            arrived, block = self._waiting.get()
            if isinstance(block, Exception):
                raise block
            if block is None:
                break
            pieces.append(block)
            left -= len(block)
            self.num_samples += len(block)
        self.window = np.concatenate(pieces)[-round(WINDOW_S * self.source.rate) :]
        return arrived, block is not None

    def _is_behind(self, started: float) -> bool:
        """Whether another second is waiting, and the clock is past it."""
        is_waiting = self._waiting.qsize() > STEP_S / BLOCK_S
        return self.source.is_live and is_waiting and self.clock() - started - self.heard_s >= STEP_S
