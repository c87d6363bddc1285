"""Voices that embed recordings by a network in PyTorch, as --eval does."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import options
import runtime
from audio.recording import SAMPLE_RATE, SHORTEST, Audio
from audio.vad import require_package
from evaluation.backends import PLAIN, BackendScoring, FittedBackend, chosen_backend
from evaluation.cohort import Cohort
from evaluation.embedder import build_scoring, embed_crops
from evaluation.store import embedding_options, fingerprint
from inference.audio_input import from_samples
from inference.conversion import converted
from inference.model_source import model_path
from inference.public_models import MODELS
from inference.thresholds import Rule
from inference.voice_options import checked_cohort, cohort_of_model, voice_options, voice_rule
from inference.voices import Summary, Vector, Voice, require_choice
from normalization._cohort import subtract_mean
from options import Options
from options.flags import DETECTORS
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile


def network_voice(
    source: str, chosen: dict[str, Any], threshold: float | None, device: torch.device
) -> "NetworkVoice":
    """What --initial_model names, options of the user, a threshold or None -> voice on a device."""
    model_file = complete_model_file(source)
    public = None if Path(source).exists() else MODELS.get(source)
    cohort = cohort_of_model(model_file, source)
    values = voice_options(
        model_file, source, public, cohort, chosen=chosen, is_threshold_given=threshold is not None
    )
    require_choice("vad", values.vad, DETECTORS)
    require_package(values.vad)
    rule = voice_rule(model_file.decision, source, public, chosen=chosen, values=values, threshold=threshold)
    try:
        network = SpeakerNet.from_model_file(model_file, values).to(device).eval()
        cohort = checked_cohort(cohort, network, values)
        backend = chosen_backend(model_file, values, source)
        backend.check(network, values, None if cohort is None else cohort.mean)
        return NetworkVoice(
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


def complete_model_file(source: str) -> ModelFile:
    """What --initial_model names -> its model file, with all options that it needs."""
    path = model_path(source)
    model_file = checkpoint.load_model(path)
    return converted(path).model_file if model_file.origin else model_file


class NetworkVoice(Voice):
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
        super().__init__(values, rule, is_norm_asked_for)
        self.network = network
        self.cohort = cohort
        self.backend = backend
        self.precision = precision
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

    def score_summaries(self, first: Summary, second: Summary) -> float:
        """Summaries (V, D) of two recordings -> the score that --eval gives the trial."""
        sides = [self.backend.project(torch.from_numpy(each))[None] for each in (first, second)]  # (1, V, E)
        score = BackendScoring(self.scoring, self.backend).score(*sides).double().numpy()
        if self._normalization is None:
            return float(score[0])
        statistics = self._normalization.statistics(torch.cat(sides)[:, 0])
        return float(self._normalization.apply(score, statistics, np.array([0]), np.array([1]))[0])

    @property
    def is_vector(self) -> bool:
        """Whether a recording has one vector, and a score is a dot product."""
        return bool(self.scoring.is_vector)

    @property
    def backend_name(self) -> str:
        """As --backend has it."""
        return self.backend.name

    @property
    def cohort_vectors(self) -> Vector | None:
        """The vectors (K, D) that scores are normalised by, in the precision in which they are stored."""
        return (
            None if self.cohort is None or self.values.score_norm == "none" else self.cohort.entries.numpy()
        )

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
        return torch.stack([torch.from_numpy(self.summary(row.waveform)) for row in rows])

    @cached_property
    def _normalization(self) -> Any:
        """What normalises scores by the cohort; None for scores as they are."""
        if self.cohort is None or self.values.score_norm == "none":
            return None
        entries = self.backend.cohort(self.cohort.entries)
        return options.build("normalization", self.values, entries, self.cohort.labels.numpy())

    def embed_windows(self, batches: Iterable[Audio]) -> Vector:
        """See Voice; on a CPU several batches at once."""
        self.require_vectors()
        embed = runtime.map_in_threads if self.precision.device == runtime.CPU else map
        embedded = list(embed(self._embed_batch, batches))
        return np.concatenate(embedded) if embedded else np.empty((0, self.dim), np.float32)

    @torch.inference_mode()
    def _embed_batch(self, windows: Audio) -> Vector:
        """Equal windows (B, T) at 16 kHz -> embeddings (B, D) of unit length."""
        with self.precision.context():
            crops = embed_crops(self.network, [torch.from_numpy(windows)], None, self.precision.device)
        if self.cohort is not None and self.cohort.mean is not None:
            crops = subtract_mean(crops, self.cohort.mean)
        return self.require_finite(torch.nn.functional.normalize(crops[0], dim=1).cpu().numpy())

    @torch.inference_mode()
    def summary(self, audio: Audio) -> Summary:
        """Samples (T,) at 16 kHz -> what the scoring keeps of them (V, D)."""
        crops = [torch.from_numpy(np.ascontiguousarray(group)) for group in self.scoring.crops(audio)]
        with self.precision.context():
            groups = [
                embed_crops(self.network, [group], self.scoring.windows, self.precision.device)
                for group in crops
            ]
        if self.cohort is not None and self.cohort.mean is not None:
            groups = [subtract_mean(group, self.cohort.mean) for group in groups]
        summary: Summary = self.scoring.summarise(groups, self.network.normalize)[0].cpu().numpy()
        return self.require_finite(summary)
