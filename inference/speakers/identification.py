"""A voice and a database of speakers: who is enrolled, who speaks in a recording."""

import math
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from audio.errors import AudioError
from inference.speakers.cohort_scores import Cohort
from inference.speakers.database import Enrolment, SpeakerDatabase, speaker_name
from inference.speakers.database_file import Model
from inference.speakers.enrolment import remarks
from inference.speakers.open_set import Answer, OpenSetRule, untuned_rule
from inference.speakers.prototypes import unit
from inference.speakers.search import Match, SpeakerSearch
from inference.speakers.tuning import Tuning, tune

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from inference.voices import Embedding, Recording, Voice

NORMALIZATIONS = ("asnorm", "snorm")


class Identification(NamedTuple):
    """The answer to who speaks in a recording, or whether a speaker does."""

    recording: "Embedding"
    ranked: list[Match]  # best first; none without speech
    answer: Answer


class SpeakerBook:
    """Enrols speakers by a voice, and identifies them."""

    def __init__(
        self,
        voice: "Voice",
        database: SpeakerDatabase,
        *,
        threshold: float | None = None,
        margin: float | None = None,
    ) -> None:
        """A voice and its database.

        Where scores are normalised only because the model has a cohort, a threshold that is given and one
        that was tuned before the model had it are still for scores as they are, and so are the scores then.

        Args:
            voice: computes the embeddings.
            database: opened with the fingerprint of the voice.
            threshold: instead of the tuned one or the model's, whatever the number of speakers; without a
                margin unless one is given.
            margin: over the runner-up, instead of the tuned one or the model's.

        Raises:
            ValueError: the model's scores are normalised in a way that a search can't, or NaN is given.
        """
        if any(math.isnan(value) for value in (threshold, margin) if value is not None):
            raise ValueError(f"expected numbers, got threshold {threshold} and margin {margin}")
        self.voice = voice
        self.database = database
        self.threshold = threshold
        self.margin = margin
        self.model_cohort = self.cohort = cohort_of(voice)
        self.search = SpeakerSearch(database, self.cohort)

    def _normalise_by(self, cohort: Cohort | None) -> None:
        if cohort is not self.cohort:
            self.cohort = cohort
            self.search = SpeakerSearch(self.database, cohort)

    def __enter__(self) -> "SpeakerBook":
        return self

    def __exit__(self, *error: object) -> None:
        self.database.close()

    def rule(self) -> OpenSetRule | None:
        """What decides: as given, as tuned, or as the model brings it; None if nothing is known."""
        stored = self.database.tuning() if self.threshold is None else None
        is_plain = self.threshold is not None or (stored or {}).get("score_norm") == "none"
        self._normalise_by(None if is_plain and not self.voice.is_norm_asked_for else self.model_cohort)
        rule: OpenSetRule | None
        if self.threshold is None:
            rule = self.model_rule() if stored is None else self._tuned_rule(stored)
        else:
            rule = untuned_rule(self.threshold, None, "as given")
        return rule if rule is None or self.margin is None else replace(rule, margin=self.margin)

    def _tuned_rule(self, stored: dict[str, Any]) -> OpenSetRule:
        """What `tune` has stored -> rule; raises ValueError if it is for other scores, or damaged."""
        norm = "none" if self.cohort is None else self.cohort.digest
        if stored.get("score_norm") != norm:
            raise ValueError(f"{self.database.path}: tuned with another cohort; tune it again")
        return OpenSetRule.from_dict(stored, str(self.database.path))

    def model_rule(self) -> OpenSetRule | None:
        """What the model alone knows about its scores."""
        known = self.voice.rule
        if known.threshold is None:
            return None
        return untuned_rule(known.threshold, known.tail, known.origin)

    def listen(self, path: str | PathLike[str]) -> Enrolment:
        """The same as the function, by this voice."""
        return listen(self.voice, path)

    def enrol(self, name: str, enrolments: Sequence[Enrolment]) -> list[str]:
        """Add recordings to a speaker, new or not -> remarks about the speaker's recordings, for people.

        Raises:
            ValueError: the name can't be used, or there is no recording.
        """
        name, rule = speaker_name(name), self.rule()
        self.database.enrol(name, enrolments)
        with self.database.reading():  # other processes may enrol the speaker, too
            vectors, records = self.database.vectors(name), self.database.recordings(name)
        of_speaker = [
            Enrolment(record.path, vector, record.duration_s, record.speech_s)
            for record, vector in zip(records, vectors, strict=True)
        ]
        if rule is None:
            return remarks(name, of_speaker, None)
        mean = unit(vectors.mean(axis=0, dtype=np.float64))
        others = [match for match in self.search.identify(mean, top=2) if match.name != name]
        nearest = others[0] if others and others[0].score >= rule.threshold_for(self.search.count()) else None
        return remarks(name, of_speaker, rule.threshold, nearest=nearest, cohort=self.cohort)

    def identify(self, recording: "Recording | Embedding", top: int = 5) -> Identification:
        """A recording, or what `listen` of the voice made of it -> speakers that it resembles, who it is.

        Raises:
            AudioError: it can't be read.
            ValueError: nothing is known about the threshold.
        """
        rule = self.required_rule()
        heard = self.voice.listen(recording)
        count = self.search.count()
        if heard.summary is None:
            return Identification(heard, [], Answer(None, rule.threshold_for(count), heard.no_speech))
        ranked = self.search.identify(heard.vector, max(top, 2))
        return Identification(heard, ranked[:top], rule.decide(ranked, count))

    def verify(self, name: str, recording: "Recording") -> Identification:
        """Name of a speaker, a path, or samples and their rate -> whether the speaker speaks in it.

        Raises:
            AudioError: it can't be read.
            ValueError: nothing is known about the threshold, or there is no such speaker.
        """
        rule = self.required_rule()
        name = speaker_name(name)
        self.database.vectors(name)  # an unknown one is told before the recording is embedded
        heard = self.voice.listen(recording)
        if heard.summary is None:
            return Identification(heard, [], Answer(None, rule.threshold, heard.no_speech))
        ranked = [Match(name, self.search.score(name, heard.vector))]
        return Identification(heard, ranked, rule.decide(ranked, 1))

    def tune(self, p_fa: float = 0.01) -> Tuning:
        """Tune the decision on the enrolled speakers; see inference.speakers.tuning.

        From then on scores are normalised as the voice normalises them.
        """
        self._normalise_by(self.model_cohort)
        return tune(self.database, p_fa, model_rule=self.model_rule(), cohort=self.cohort)

    def required_rule(self) -> OpenSetRule:
        """What decides; raises ValueError if nothing is known."""
        rule = self.rule()
        if rule is None:
            raise ValueError(
                f"{self.voice.values.initial_model}: no threshold; give --threshold, tune the database, or "
                "store one in the model (tuneThreshold.py --store)"
            )
        return rule


def open_book(
    voice: "Voice",
    path: str | PathLike[str],
    *,
    threshold: float | None = None,
    margin: float | None = None,
    prototypes: str | None = None,
) -> SpeakerBook:
    """Voice, path of a database -> both; with `prototypes` it is made if there is none, see SpeakerDatabase.

    Raises:
        ValueError, OSError: the database can't be used, or another model computed its embeddings.
    """
    if prototypes is None:
        database = SpeakerDatabase(path, model_of(voice).fingerprint)
    else:
        database = SpeakerDatabase.create(path, model_of(voice), prototypes)
    return SpeakerBook(voice, database, threshold=threshold, margin=margin)


def listen(voice: "Voice", path: str | PathLike[str]) -> Enrolment:
    """A recording -> what is enrolled of it.

    Raises:
        AudioError: it can't be read, nobody speaks, or it is standard input, which can't be read again.
    """
    from inference.audio_input import STANDARD_INPUT

    if path == STANDARD_INPUT:
        raise AudioError(
            "-: standard input can't be enrolled, since migrate reads recordings again; give a file"
        )
    recording = voice.listen(path)
    return Enrolment(str(path), recording.vector, recording.duration_s, recording.speech_s)


def model_of(voice: "Voice") -> Model:
    """A voice -> what a database keeps of its model; raises ValueError if recordings have no vector."""
    voice.require_vectors()
    name = voice.values.initial_model
    place = str(Path(name).absolute()) if Path(name).exists() else name
    values = voice.values
    flags = f"--vad {values.vad} --channel {values.channel} --precision {values.precision}"
    return Model(place, voice.fingerprint, voice.dim, flags)


def cohort_of(voice: "Voice") -> Cohort | None:
    """A voice -> the cohort that its scores are normalised by.

    Raises:
        ValueError: a search can't normalise scores in its way.
    """
    kind, backend = voice.values.score_norm, voice.backend_name
    if backend != "none":
        raise ValueError(
            f"--backend {backend} of {voice.values.initial_model}: identification takes none; give "
            "--backend none"
        )
    vectors = voice.cohort_vectors
    if vectors is None:
        return None
    if kind not in NORMALIZATIONS:
        raise ValueError(
            f"--score_norm {kind} of {voice.values.initial_model}: identification takes "
            f"{' or '.join(NORMALIZATIONS)}"
        )
    return Cohort(vectors, voice.values.top_n)
