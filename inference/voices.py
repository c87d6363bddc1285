"""A trained network that answers questions about recordings: embeddings, comparisons, who is speaking."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import options
import runtime
from audio.errors import AudioError
from audio.quality import warnings_of
from audio.recording import SAMPLE_RATE, SHORTEST, Audio
from audio.vad import LEAST_SPEECH_S, hear, require_package
from evaluation.backends import PLAIN, BackendScoring, FittedBackend, chosen_backend
from evaluation.cohort import Cohort
from evaluation.embedder import build_scoring, embed_crops
from evaluation.store import embedding_options, fingerprint
from inference.audio_input import AudioInput, from_samples, read_audio
from inference.conversion import converted
from inference.model_source import model_path
from inference.public_models import DEFAULT_MODEL, MODELS
from inference.speakers.identification import Identification, listen, open_book
from inference.thresholds import Rule
from inference.voice_options import checked_cohort, cohort_of_model, voice_options, voice_rule
from normalization._cohort import subtract_mean
from options import Options
from options.flags import DETECTORS, PRECISIONS
from SpeakerNet import SpeakerNet
from storage import checkpoint

Vector = NDArray[np.float32]
Samples = NDArray[Any] | Tensor
# a path, samples and their rate in Hz, or what inference.audio_input has read
Recording = str | PathLike[str] | tuple[Samples, int] | AudioInput


class NoSpeechError(AudioError):
    """A recording in which nobody speaks."""


class Embedding(NamedTuple):
    """What is known of one recording."""

    name: str
    summary: Tensor | None  # (V, D), on the CPU; V is 1 but for --scoring distance; None without speech
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
        vector: Vector = self.summary[0].numpy()
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
) -> "Voice":
    """Model -> voice.

    Args:
        source: a model file, a run folder, a file or folder of another program, or the name of a public
            model, which is downloaded once (`inferSpeakerNet.py fetch --list`).
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

    Raises:
        FileNotFoundError, ValueError, OSError: no such model, a damaged one, or it can't be downloaded.
    """
    _require_choice("device", device, ("auto", "cpu", "cuda"))
    _require_choice("precision", precision, ("auto", *PRECISIONS))
    given = {
        "vad": vad or None,
        "channel": channel,
        "precision": None if precision == "auto" else precision,
        "score_norm": score_norm or None,
        "backend": backend or None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return _voice(fspath(source), chosen, threshold, runtime.choose_device(device, gpu_id))


def _voice(source: str, chosen: dict[str, Any], threshold: float | None, device: torch.device) -> "Voice":
    """What --initial_model names, options of the user, a threshold or None -> voice on a device."""
    for name, choices in {
        "vad": DETECTORS,
        "score_norm": options.available("normalization"),
        "backend": options.available("backend"),
    }.items():
        _require_choice(name, chosen.get(name, "none"), choices)
    path = model_path(source)
    model_file = checkpoint.load_model(path)
    if model_file.origin:
        model_file = converted(path).model_file
    public = None if Path(source).exists() else MODELS.get(source)
    cohort = cohort_of_model(model_file, source)
    values = voice_options(
        model_file, source, public, cohort, chosen=chosen, is_threshold_given=threshold is not None
    )
    _require_choice("vad", values.vad, DETECTORS)
    require_package(values.vad)
    rule = voice_rule(model_file.decision, source, public, chosen=chosen, values=values, threshold=threshold)
    try:
        network = SpeakerNet.from_model_file(model_file, values).to(device).eval()
        cohort = checked_cohort(cohort, network, values)
        backend = chosen_backend(model_file, values, source)
        backend.check(network, values, None if cohort is None else cohort.mean)
        return Voice(
            network,
            values,
            rule=rule,
            cohort=cohort,
            backend=backend,
            precision=runtime.Precision(values.precision, device),
            is_norm_asked_for="score_norm" in chosen or model_file.decision is not None,
        )
    except (TypeError, KeyError, AttributeError) as error:  # one is missing, or of another type
        raise ValueError(f"{source}: its options are damaged: {error}") from error


def _require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a value that isn't one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


def several(paths: Iterable[str | PathLike[str]]) -> Iterable[str | PathLike[str]]:
    """Paths -> the same; raises ValueError for a single one, whose characters would be taken for paths."""
    if isinstance(paths, str | PathLike):
        raise ValueError(f"expected a list of paths, got one path: write [{str(paths)!r}]")
    return paths


class Voice:
    """A network that embeds recordings and compares them as --eval does; made by `load`."""

    def __init__(
        self,
        network: SpeakerNet,
        values: Options,
        *,
        rule: Rule,
        cohort: Cohort | None,
        backend: FittedBackend = PLAIN,
        precision: runtime.Precision,
        is_norm_asked_for: bool = True,
    ) -> None:
        """A network in evaluation mode.

        Args:
            network: on the device of `precision`, without a loss.
            values: the options that decide how recordings are embedded and compared.
            rule: the threshold for scores.
            cohort: what scores are normalised by; None for scores as they are.
            backend: what changes embeddings before they are compared.
            precision: how the network computes.
            is_norm_asked_for: whether the user or a decision says how scores are normalised; otherwise they
                are because the model has a cohort.
        """
        self.network = network
        self.values = values
        self.rule = rule
        self.cohort = cohort
        self.backend = backend
        self.precision = precision
        self.is_norm_asked_for = is_norm_asked_for
        self.scoring = build_scoring(values)

    @cached_property
    def fingerprint(self) -> str:
        """A text that is the same for the same weights and the same way of embedding."""
        mean = None if self.cohort is None else self.cohort.mean
        return fingerprint(self.network, embedding_options(self.values), mean)

    @cached_property
    def dim(self) -> int:
        """Size D of an embedding."""
        groups = self.scoring.crops(np.zeros(SHORTEST, np.float32))
        summary = self.scoring.summarise([torch.zeros(1, 1, self.values.nOut) for _ in groups], True)
        return int(summary.shape[-1])

    def embed(self, waveform: Samples, rate: int) -> Vector:
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
        if not self.scoring.is_vector:
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
        summary = self._summary(heard.audio) if has_speech else None
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
        sides = [self.backend.project(each)[None] for each in (first.summary, second.summary)]  # (1, V, E)
        score = BackendScoring(self.scoring, self.backend).score(*sides).double().numpy()
        if self._normalization is None:
            return float(score[0])
        statistics = self._normalization.statistics(torch.cat(sides)[:, 0])
        return float(self._normalization.apply(score, statistics, np.array([0]), np.array([1]))[0])

    def enrol(
        self, name: str, paths: Iterable[str | PathLike[str]], database: str | PathLike[str]
    ) -> list[str]:
        """Name of a speaker, recordings, a database, which is made if there is none -> remarks for people.

        Raises:
            AudioError: a recording can't be used; then none is enrolled.
            ValueError, OSError: the name or the database can't be used.
        """
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
    ) -> Identification:
        """A path, or samples and their rate -> who of a database's speakers it is; see SpeakerBook.

        Raises:
            AudioError: the recording can't be read.
            ValueError, OSError: the database can't be used, or no threshold is known.
        """
        with open_book(self, database, threshold=threshold) as book:
            return book.identify(recording, top)

    def encode_batch(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Waveforms (B, T) at 16 kHz, the used share of each (B,) -> embeddings (B, 1, D), as SpeechBrain's.

        Nothing is cut out of them: there is no voice activity detector here. The embeddings are on the CPU.

        Raises:
            ValueError: another shape, or samples that can't be used.
        """
        self.require_vectors()
        if waveforms.ndim != 2:
            raise ValueError(f"expected waveforms (B, T), got {tuple(waveforms.shape)}")
        ends = [waveforms.shape[1]] * len(waveforms)
        if lengths is not None:
            ends = torch.round(torch.as_tensor(lengths).cpu() * waveforms.shape[1]).int().tolist()
        if len(ends) != len(waveforms):
            raise ValueError(f"expected one length for each of {len(waveforms)} waveforms, got {len(ends)}")
        rows = [from_samples(row[:end], SAMPLE_RATE) for row, end in zip(waveforms, ends, strict=True)]
        return torch.stack([self._summary(row.waveform) for row in rows])

    @torch.inference_mode()
    def embed_windows(self, windows: Audio) -> Vector:
        """Equal windows (B, T) at 16 kHz, of speech -> embeddings (B, D) of unit length, in one batch.

        Whatever --scoring does with long recordings isn't done here.

        Raises:
            ValueError: recordings have no vector, or an embedding isn't finite.
        """
        self.require_vectors()
        with self.precision.context():
            crops = embed_crops(self.network, [torch.from_numpy(windows)], None, self.precision.device)
        if self.cohort is not None and self.cohort.mean is not None:
            crops = subtract_mean(crops, self.cohort.mean)
        return self._checked(torch.nn.functional.normalize(crops[0], dim=1).cpu()).numpy()

    @cached_property
    def _normalization(self) -> Any:
        """What normalises scores by the cohort; None for scores as they are."""
        if self.cohort is None or self.values.score_norm == "none":
            return None
        entries = self.backend.cohort(self.cohort.entries)
        return options.build("normalization", self.values, entries, self.cohort.labels.numpy())

    @torch.inference_mode()
    def _summary(self, audio: Audio) -> Tensor:
        """Samples (T,) at 16 kHz -> what the scoring keeps of them (V, D)."""
        crops = [torch.from_numpy(np.ascontiguousarray(group)) for group in self.scoring.crops(audio)]
        with self.precision.context():
            groups = [
                embed_crops(self.network, [group], self.scoring.windows, self.precision.device)
                for group in crops
            ]
        if self.cohort is not None and self.cohort.mean is not None:
            groups = [subtract_mean(group, self.cohort.mean) for group in groups]
        return self._checked(self.scoring.summarise(groups, self.network.normalize)[0].cpu())

    def _checked(self, embeddings: Tensor) -> Tensor:
        """Embeddings -> the same; raises ValueError if one isn't finite."""
        if not embeddings.isfinite().all():
            raise ValueError(
                f"{self.values.initial_model}: its embedding isn't finite; is the model damaged?"
            )
        return embeddings
