"""Voices that embed recordings by an exported network; PyTorch isn't imported."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audio.evaluation_crops import evaluation_crops
from audio.recording import Audio, num_samples
from audio.vad import require_package
from inference.exported.session import ExportedNetwork
from inference.speakers.cohort_scores import Cohort, normalised_pairs
from inference.speakers.prototypes import unit
from inference.thresholds import Rule, given_rule
from inference.voices import Summary, Vector, Voice
from options import Options

FULL_AND_CROPS = "full_and_crops"
SCORINGS = ("cosine", FULL_AND_CROPS)  # whose summaries are computed here
DECIDING = ("vad", "channel")  # of the options: those that another value may be given for


def exported_voice(
    source: str, chosen: Mapping[str, Any], threshold: float | None, threads: int | None = None
) -> "ExportedVoice":
    """Path of an exported file, options of the user, a threshold or None, threads -> voice.

    Raises:
        FileNotFoundError, ValueError: the file can't be used, or not with these options.
    """
    network = ExportedNetwork(source, threads)
    stored = network.contents.options
    for name in ("precision", "backend", "score_norm"):
        if chosen.get(name, "none") not in ("none", stored[name]):
            raise ValueError(
                f"{source} was exported with --{name} {stored[name]}; to use {chosen[name]} export it again"
            )
    is_plain = threshold is not None and not network.contents.is_norm_asked_for and "score_norm" not in chosen
    changes = dict(chosen) | ({"score_norm": "none"} if is_plain else {})
    values = Options({**stored, **changes, "initial_model": source})
    if values.score_norm != stored["score_norm"] and values.subtract_mean:
        raise ValueError(
            f"{source} was exported with --score_norm {stored['score_norm']} and a mean that is subtracted; "
            "for other scores export it again with --score_norm none"
        )
    require_package(values.vad)
    changed = [name for name in (*DECIDING, "score_norm") if values[name] != stored[name]]
    rule = network.contents.rule
    if threshold is not None:
        rule = given_rule(threshold)
    elif changed:
        name = changed[0]
        rule = Rule(
            None,
            f"the threshold in {source} is for --{name} {stored[name]}, not {values[name]}; give another one "
            "(--threshold)",
        )
    return ExportedVoice(network, values, rule, network.contents.is_norm_asked_for or "score_norm" in chosen)


class ExportedVoice(Voice):
    """A network in ONNX Runtime that embeds recordings and compares them as the one it was exported from."""

    is_vector = True

    def __init__(
        self, network: ExportedNetwork, values: Options, rule: Rule, is_norm_asked_for: bool
    ) -> None:
        """The network, the options in its file with the user's changes, and the threshold for scores."""
        super().__init__(values, rule, is_norm_asked_for)
        self.network = network

    @cached_property
    def fingerprint(self) -> str:
        """That of the network it was exported from; of another way of embedding another one."""
        contents = self.network.contents
        changes = [
            f"{name} {self.values[name]}" for name in DECIDING if self.values[name] != contents.options[name]
        ]
        changes += [contents.variant] if contents.variant else []
        if not changes:
            return contents.fingerprint
        return hashlib.sha256("\n".join([contents.fingerprint, *changes]).encode()).hexdigest()

    @property
    def dim(self) -> int:
        """Size D of an embedding."""
        return self.network.contents.embedding_dim * (2 if self.values.scoring == FULL_AND_CROPS else 1)

    @property
    def backend_name(self) -> str:
        """None can be exported."""
        return "none"

    @property
    def cohort_vectors(self) -> NDArray[np.floating] | None:
        """The vectors (K, D) that scores are normalised by, in the precision in which they are stored."""
        return None if self.values.score_norm == "none" else self.network.contents.cohort

    def summary(self, audio: Audio) -> Summary:
        """Samples (T,) at 16 kHz -> its vector (1, D).

        The mean of the length-normalised embeddings of its crops; with full_and_crops also that of the whole
        recording, where a division by the root of 2 makes the dot product the mean of both.
        """
        length = num_samples(self.values.eval_frames) if self.values.eval_frames else 0
        groups = [evaluation_crops(audio, length, self.values.num_eval)]
        if self.values.scoring == FULL_AND_CROPS:
            groups.insert(0, evaluation_crops(audio, 0, 1))
        means = [unit(self.network.embed(group)).mean(axis=0, keepdims=True) for group in groups]
        vector = np.concatenate(means, axis=1) / len(groups) ** 0.5
        return self.require_finite(vector.astype(np.float32))

    def embed_windows(self, batches: Iterable[Audio]) -> Vector:
        """See Voice."""
        embedded = [self.require_finite(unit(self.network.embed(batch))) for batch in batches]
        return np.concatenate(embedded) if embedded else np.empty((0, self.dim), np.float32)

    def score_summaries(self, first: Summary, second: Summary) -> float:
        """Vectors (1, D) of two recordings -> their dot product, normalised where this voice does so."""
        score = (first * second).sum(dtype=np.float32)
        if self._cohort is None:
            return float(score)
        sides = (self._cohort.scores(side) for side in (first, second))
        return float(normalised_pairs(np.array([score], np.float64), *sides)[0])

    @cached_property
    def _cohort(self) -> Cohort | None:
        vectors = self.cohort_vectors
        return None if vectors is None else Cohort(vectors, self.values.top_n)
