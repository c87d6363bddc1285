"""Voices: what answers questions about recordings, by a network or an exported file; no import of PyTorch."""

from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import options
from audio.errors import AudioError
from audio.quality import warnings_of
from audio.recording import Audio
from audio.vad import LEAST_SPEECH_S, hear
from inference.audio_input import AudioInput, from_samples, read_audio
from inference.exported import SUFFIX
from inference.public_models import DEFAULT_MODEL
from inference.thresholds import Rule
from options import Options
from options.flags import DETECTORS, PRECISIONS

if TYPE_CHECKING:
    from torch import Tensor

    from inference.speakers.identification import Identification

Vector = NDArray[np.float32]
Summary = NDArray[np.float32]  # (V, D) of a recording; V is 1 but for --scoring distance
# a path, samples and their rate in Hz, or what inference.audio_input has read
Recording = str | PathLike[str] | tuple[Any, int] | AudioInput


class NoSpeechError(AudioError):
    """A recording in which nobody speaks."""


class Embedding(NamedTuple):
    """What is known of one recording."""

    name: str
    summary: Summary | None  # None without speech
    duration_s: float
    speech_s: float
    warnings: tuple[str, ...]  # why an answer about it may be wrong

    @property
    def vector(self) -> Vector:
        """The embedding (D,); the dot product of two of them is their score.

        Raises:
            NoSpeechError: nobody speaks.
        """
        if self.summary is None:
            raise NoSpeechError(self.no_speech)
        vector: Vector = self.summary[0]
        return vector

    @property
    def no_speech(self) -> str:
        """A sentence for recordings without speech."""
        return f"{self.name}: no speech in {self.duration_s:.1f} s"


class Comparison(NamedTuple):
    """The answer to whether two recordings are of one speaker."""

    first: Embedding
    second: Embedding
    score: float | None  # None if one of them has no speech
    accepted: bool | None  # None without a threshold, or without speech
    threshold: float | None
    probability: float | None  # of one speaker, where the model has a calibration
    reason: str  # why nothing is decided, "" if something is


def load(
    source: str | PathLike[str] = DEFAULT_MODEL,
    *,
    threshold: float | None = None,
    vad: str = "",
    channel: int | None = None,
    score_norm: str = "",
    backend: str = "",
    device: str = "auto",
    gpu_id: int = 0,
    precision: str = "auto",
    threads: int | None = None,
) -> "Voice":
    """Model -> voice.

    Args:
        source: a model file, a run folder, a file or folder of another program, an exported file (.onnx), or
            the name of a public model, which is downloaded once (`inferSpeakerNet.py fetch --list`).
        threshold: scores of at least this are accepted; by default that in the model file, or that of the
            public model.
        vad: voice activity detector, as --vad; "" = that of the threshold or of the model file, or energy.
        channel: channel of recordings that have several, 0 = the first, -1 = all are mixed down; None = that
            of the threshold in the model file, or -1.
        score_norm: how scores are normalised by the model's cohort, as --score_norm; "" = as the threshold in
            the model file says, or asnorm where the file has a cohort, but none if `threshold` is given.
        backend: as --backend; "" = as the threshold in the model file says, or that in the file, but none if
            `threshold` is given.
        device: auto, cpu or cuda.
        gpu_id: index of the GPU.
        precision: fp32, tf32, bf16 or fp16; auto = that of the threshold in the model file, or fp32.
        threads: on the CPU, 0 = the cores of this process; None = as PyTorch is set, of exported files as 0.

    Raises:
        FileNotFoundError, ValueError, OSError: no such model, a damaged one, or it can't be downloaded.
    """
    require_choice("device", device, ("auto", "cpu", "cuda"))
    require_choice("precision", precision, ("auto", *PRECISIONS))
    require_choice("vad", vad or "none", DETECTORS)
    require_choice("score_norm", score_norm or "none", options.available("normalization"))
    require_choice("backend", backend or "none", options.available("backend"))
    given = {
        "vad": vad or None,
        "channel": channel,
        "score_norm": score_norm or None,
        "backend": backend or None,
    }
    given["precision"] = None if precision == "auto" else precision
    chosen = {name: value for name, value in given.items() if value is not None}
    path = fspath(source)
    if path.endswith(SUFFIX):
        from inference.exported.voice import exported_voice

        require_choice("device of an exported file", device, ("auto", "cpu"))
        return exported_voice(path, chosen, threshold, threads)
    import runtime
    from inference.network_voice import network_voice

    if threads is not None:
        runtime.use_threads(threads)
    return network_voice(path, chosen, threshold, runtime.choose_device(device, gpu_id))


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a value that isn't one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def several(paths: Iterable[str | PathLike[str]]) -> Iterable[str | PathLike[str]]:
    """Paths -> the same; raises ValueError for a single one, whose characters would be taken for paths."""
    if isinstance(paths, str | PathLike):
        raise ValueError(f"expected a list of paths, got one path: write [{str(paths)!r}]")
    return paths


class Voice:
    """Embeds recordings and compares them; made by `load`. Subclasses compute summaries and their scores."""

    def __init__(self, values: Options, rule: Rule, is_norm_asked_for: bool) -> None:
        """The options that decide how recordings are embedded and compared, and the threshold for scores.

        is_norm_asked_for: whether the user or a decision says how scores are normalised; otherwise they are
        because the model has a cohort.
        """
        self.values = values
        self.rule = rule
        self.is_norm_asked_for = is_norm_asked_for

    @property
    def fingerprint(self) -> str:
        """A text that is the same for the same weights and the same way of embedding."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Size D of an embedding."""
        raise NotImplementedError

    @property
    def is_vector(self) -> bool:
        """Whether a recording has one vector, and a score is a dot product."""
        raise NotImplementedError

    @property
    def backend_name(self) -> str:
        """As --backend has it."""
        raise NotImplementedError

    @property
    def cohort_vectors(self) -> NDArray[np.floating] | None:
        """The vectors (K, D) that scores are normalised by, in the precision in which they are stored."""
        raise NotImplementedError

    def summary(self, audio: Audio) -> Summary:
        """Samples (T,) at 16 kHz -> what the scoring keeps of them (V, D)."""
        raise NotImplementedError

    def embed_windows(self, batches: Iterable[Audio]) -> Vector:
        """Batches of equal windows (B, T) at 16 kHz, of speech -> embeddings (W, D) of unit length.

        Whatever --scoring does with long recordings isn't done here.

        Raises:
            ValueError: recordings have no vector, or an embedding isn't finite.
        """
        raise NotImplementedError

    def score_summaries(self, first: Summary, second: Summary) -> float:
        """Summaries (V, D) of two recordings -> the score that --eval gives the trial."""
        raise NotImplementedError

    def embed(self, waveform: "NDArray[Any] | Tensor", rate: int) -> Vector:
        """Samples (T,) or (T, C), float in [-1, 1], int16 or int32, sample rate in Hz -> embedding (D,).

        Raises:
            ValueError: samples that aren't finite, or another shape.
            NoSpeechError: nobody speaks.
        """
        self.require_vectors()
        return self.listen((waveform, rate)).vector

    def embed_files(self, paths: Iterable[str | PathLike[str]]) -> Vector:
        """Paths of U recordings -> embeddings (U, D).

        Raises:
            AudioError: one can't be read.
            NoSpeechError: nobody speaks in one.
        """
        self.require_vectors()
        vectors = [self.listen(path).vector for path in several(paths)]
        return np.array(vectors, np.float32).reshape(-1, self.dim)

    def require_vectors(self) -> None:
        """Raises ValueError unless a recording has one vector, and a score is a dot product."""
        if not self.is_vector:
            raise ValueError(
                f"--scoring {self.values.scoring} has no embedding of a recording: "
                f"python inferSpeakerNet.py convert {self.values.initial_model} NEW --scoring cosine"
            )

    def read(self, recording: Recording) -> tuple[str, AudioInput]:
        """A path, or samples and their rate -> its name, its samples.

        Raises:
            ValueError, AudioError: see `listen`.
        """
        channel = self.values.channel
        if isinstance(recording, AudioInput):
            return "microphone", recording
        if isinstance(recording, tuple) and len(recording) == 2:
            return "waveform", from_samples(*recording, channel)
        if isinstance(recording, str | PathLike):
            return str(recording), read_audio(recording, channel)
        raise ValueError(
            "expected a recording: a path, or a tuple of samples and their rate in Hz, got "
            f"{type(recording).__name__}"
        )

    def listen(self, recording: Recording | Embedding) -> Embedding:
        """A path, or samples and their rate -> what is known of the recording, also if nobody speaks.

        What this has returned is returned as it is.

        Raises:
            ValueError: samples that aren't finite, or another shape.
            AudioError: the file can't be read.
        """
        if isinstance(recording, Embedding):
            return recording
        name, (waveform, remarks) = self.read(recording)
        heard = hear(waveform, self.values.vad)
        has_speech = heard.speech_s >= LEAST_SPEECH_S
        summary = self.summary(heard.audio) if has_speech else None
        warnings = (*remarks, *warnings_of(waveform, heard))
        return Embedding(name, summary, heard.duration_s, heard.speech_s, warnings)

    def compare(
        self, first: Recording | Embedding, second: Recording | Embedding, prior: float = 0.5
    ) -> Comparison:
        """Two recordings -> score, decision, and the probability of one speaker.

        A recording without speech is an answer, too: nothing is decided.

        Args:
            first: a path, samples and their rate, or what `listen` returned.
            second: another one.
            prior: probability of one speaker before listening.

        Raises:
            ValueError, AudioError: one of them can't be used.
        """
        one, other = self.listen(first), self.listen(second)
        reasons = [side.no_speech for side in (one, other) if side.summary is None]
        if reasons:
            return Comparison(one, other, None, None, self.rule.threshold, None, "; ".join(reasons))
        score = self.score(one, other)
        return Comparison(
            one,
            other,
            score,
            self.rule.accepts(score),
            self.rule.threshold,
            self.rule.probability(score, prior),
            self.rule.origin if self.rule.threshold is None else "",
        )

    def verify_files(
        self, first: str | PathLike[str], second: str | PathLike[str]
    ) -> tuple[float | None, bool | None]:
        """Two paths -> score, whether they are of one speaker; see `compare` for when these are None."""
        comparison = self.compare(first, second)
        return comparison.score, comparison.accepted

    def score(self, first: Embedding, second: Embedding) -> float:
        """Two embeddings -> the score that --eval gives the trial, normalised where this voice does so.

        Raises:
            NoSpeechError: one has no speech.
        """
        if first.summary is None or second.summary is None:
            raise NoSpeechError(second.no_speech if first.summary is not None else first.no_speech)
        return self.score_summaries(first.summary, second.summary)

    def enrol(
        self, name: str, paths: Iterable[str | PathLike[str]], database: str | PathLike[str]
    ) -> list[str]:
        """Name of a speaker, recordings, a database, which is made if there is none -> remarks for people.

        Raises:
            AudioError: a recording can't be used; then none is enrolled.
            ValueError, OSError: the name or the database can't be used.
        """
        from inference.speakers.identification import listen, open_book  # imports SQLite

        enrolments = [listen(self, path) for path in several(paths)]
        with open_book(self, database, prototypes="") as book:  # made only if there is something to enrol
            return book.enrol(name, enrolments)

    enroll = enrol

    def identify(
        self,
        recording: Recording,
        database: str | PathLike[str],
        *,
        top: int = 5,
        threshold: float | None = None,
    ) -> "Identification":
        """A path, or samples and their rate -> who of a database's speakers it is; see SpeakerBook.

        Raises:
            AudioError: the recording can't be read.
            ValueError, OSError: the database can't be used, or no threshold is known.
        """
        from inference.speakers.identification import open_book

        with open_book(self, database, threshold=threshold) as book:
            return book.identify(recording, top)

    def require_finite(self, summary: Summary) -> Summary:
        """A summary -> the same; raises ValueError unless its values are finite."""
        if not np.isfinite(summary).all():
            raise ValueError(
                f"{self.values.initial_model}: its embedding isn't finite; is the model damaged?"
            )
        return summary
