"""What the server answers: recordings and names in, plain values out. Every call is made by one thread."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.diarization.diarizer import diarize
from inference.server.limits import Limits
from inference.server.recent import RecentEmbeddings
from inference.speakers.database import NOT_KEPT, Enrolment
from inference.speakers.identification import Identification, SpeakerBook, open_book
from inference.speakers.search import Match
from inference.voices import Embedding, Voice

Values = dict[str, Any]
PEAKS = 400  # of the picture of a waveform


class Service:
    """A voice and a database of speakers, which is made when somebody is enrolled."""

    def __init__(self, voice: Voice, database: str, limits: Limits) -> None:
        """A voice, the path of a database, how much is remembered."""
        self.voice = voice
        self.database = database
        self.recent = RecentEmbeddings(limits)
        self._book: SpeakerBook | None = None

    def model(self) -> Values:
        """What decides: the model and its threshold."""
        rule = self.voice.rule
        return {
            "model": self.voice.values.initial_model,
            "detector": self.voice.values.vad,
            "normalisation": self.voice.values.score_norm,
            "threshold": rule.threshold,
            "origin": rule.origin,
            "curve": None if rule.curve is None else rule.curve._asdict(),
        }

    def listen(self, samples: NDArray[np.int16], rate: int) -> Values:
        """Samples (T, C), Hz -> what is known of the recording, and the name it is remembered by."""
        embedding = self.voice.listen((samples, rate))
        return {"recording": self.recent.add(embedding), **_values_of(embedding)}

    def turns(self, samples: NDArray[np.int16], rate: int) -> Values:
        """Samples (T, C), Hz -> who speaks when; enrolled speakers are named."""
        book = self.book()
        can_name = book is not None and book.rule() is not None
        found = diarize(self.voice, (samples, rate), database=self.database if can_name else None)
        return {
            "duration_s": round(found.duration_s, 3),
            "speech_s": round(found.speech_s, 3),
            "has_speech": bool(found.turns),
            "warnings": list(found.warnings),
            "turns": [
                {"start": round(turn.start_s, 3), "end": round(turn.end_s, 3), "name": turn.speaker}
                for turn in found.turns
            ],
        }

    def compare(self, first: str, second: str, prior: float) -> Values:
        """Names of two recordings, prior probability of one speaker -> whether they are of one speaker."""
        comparison = self.voice.compare(self.recent.get(first), self.recent.get(second), prior)
        return {
            "decision": _decision(comparison.accepted),
            "score": _rounded(comparison.score),
            "threshold": _rounded(comparison.threshold),
            "probability": _rounded(comparison.probability),
            "reason": comparison.reason,
        }

    def identify(self, recording: str, top: int) -> Values:
        """Name of a recording -> which enrolled speaker it is, and whom it resembles."""
        book = self.book()
        if book is None:
            return {"name": None, "reason": "no speaker is enrolled", "threshold": None, "ranked": []}
        return _identification(book.identify(self.recent.get(recording), top))

    def enrol(self, name: str, recordings: Sequence[str]) -> Values:
        """Name of a speaker, names of recordings -> remarks about the speaker's recordings."""
        date = datetime.now(UTC).isoformat(timespec="seconds")
        enrolments = [
            Enrolment(f"{NOT_KEPT}{date} {key[:6]}", known.vector, known.duration_s, known.speech_s)
            for key, known in ((key, self.recent.get(key)) for key in recordings)
        ]
        if self._book is None:
            self._book = open_book(self.voice, self.database, prototypes="")
        return {"remarks": self._book.enrol(name, enrolments)}

    def speakers(self) -> list[Values]:
        """The enrolled speakers, by name."""
        book = self.book()
        return [] if book is None else [speaker._asdict() for speaker in book.database.speakers()]

    def remove(self, name: str) -> None:
        """Remove a speaker; raises ValueError if there is none of this name."""
        book = self.book()
        if book is None:
            raise ValueError(f"{name}: no such speaker")
        book.database.remove(name)

    def book(self) -> SpeakerBook | None:
        """The database, opened at its first use; None as long as there is none."""
        if self._book is None:
            try:
                self._book = open_book(self.voice, self.database)
            except FileNotFoundError:
                return None
        return self._book

    def close(self) -> None:
        """Close the database."""
        if self._book is not None:
            self._book.database.close()


def peaks(samples: NDArray[np.int16]) -> list[float]:
    """Samples (T, C) -> the largest magnitudes of PEAKS equal parts, in [0, 1], for a picture."""
    magnitudes = np.abs(samples.astype(np.int32)).max(axis=1)
    parts = np.array_split(magnitudes, min(PEAKS, len(magnitudes)))
    return [round(float(part.max()) / 32768.0, 3) for part in parts]


def _values_of(embedding: Embedding) -> Values:
    return {
        "duration_s": round(embedding.duration_s, 3),
        "speech_s": round(embedding.speech_s, 3),
        "has_speech": embedding.summary is not None,
        "warnings": list(embedding.warnings),
    }


def _identification(identification: Identification) -> Values:
    answer = identification.answer
    return {
        "name": answer.name,
        "reason": answer.reason,
        "threshold": _rounded(answer.threshold),
        "ranked": [_match(match) for match in identification.ranked],
    }


def _match(match: Match) -> Values:
    return {"name": match.name, "score": _rounded(match.score)}


def _decision(accepted: bool | None) -> str:
    return {True: "one speaker", False: "two speakers", None: "undecided"}[accepted]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
