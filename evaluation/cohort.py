"""Cohorts for score normalisation: computed from a list of speakers, kept in a file."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import distributed
from audio.held_out import set_aside
from audio.lists import read_train_list
from audio.recordings import Recordings
from distributed.signals import StopSignal
from evaluation.embedder import build_embedder
from evaluation.store import EmbeddingStore, embedding_options, fingerprint
from normalization._cohort import Ids, speaker_means
from options import Options, plugin
from options.flags import ADDED_SCORING, scoring_options
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.checkpoint import ModelFile
from storage.run_folder import RunFolder
from storage.run_log import RunLog

BINDING = "network-1:"  # begins this version's fingerprints; earlier ones depended on PyTorch's version
ANY_INPUT = "any-input-1:"  # begins those of cohorts that serve with any --vad, --channel and --precision
KINDS: dict[str, Any] = {
    "entries": Tensor,
    "labels": Tensor,
    "speakers": list,
    "paths": list,
    "path_labels": Tensor,
    "mean": Tensor | None,
    "way": str,
}


class Cohort(NamedTuple):
    """The vectors that scores are normalised by, and whose recordings they were made from."""

    entries: Tensor  # (K, D), of speakers or of utterances
    labels: Tensor  # (K,) speakers of the entries, as indices of `speakers`
    speakers: list[str]
    paths: list[str]  # of the recordings, with the times of segments
    path_labels: Tensor  # their speakers
    mean: Tensor | None  # (D,) of all embeddings, to be subtracted before scoring; None if it isn't
    way: str  # binds the cohort to a network, see cohort_binding

    @classmethod
    def from_dict(cls, content: Any, source: str) -> Self:
        """Contents of a file -> cohort; raises ValueError with the file's path if they aren't one."""
        values = content if isinstance(content, dict) else {}
        if values.keys() != KINDS.keys() or not all(isinstance(values[k], kind) for k, kind in KINDS.items()):
            raise ValueError(f"{source}: its cohort is damaged; make it again with --prepare")
        return cls(**values)

    @property
    def digest(self) -> str:
        """A text that is the same for the same vectors, labels and mean."""
        tensors = {"entries": self.entries, "labels": self.labels, "mean": self.mean}
        return checkpoint.digest({name: tensor for name, tensor in tensors.items() if tensor is not None})

    def speakers_of(self, paths: Sequence[str]) -> Ids:
        """Paths -> labels of their speakers, by path or by a folder's name; -1 for unknown ones."""
        labels = {speaker: label for label, speaker in enumerate(self.speakers)}
        labels_of_paths = dict(zip(self.paths, self.path_labels.tolist(), strict=True))
        speakers = np.full(len(paths), -1)
        for i, path in enumerate(paths):
            by_folder = (labels[folder] for folder in path.split("/")[:-1] if folder in labels)
            speakers[i] = labels_of_paths.get(path, next(by_folder, -1))
        return speakers


def without_names(cohort: Cohort, network: SpeakerNet, deciding: Mapping[str, Any]) -> Cohort:
    """A cohort of a network -> the same in half precision, which shows neither speakers nor recordings."""
    return Cohort(
        entries=cohort.entries.half(),
        labels=cohort.labels,
        speakers=[],
        paths=[],
        path_labels=cohort.path_labels[:0],
        mean=cohort.mean,
        way=any_input_binding(network, deciding, cohort.mean),
    )


def cohort_binding(network: SpeakerNet, deciding: Mapping[str, Any], mean: Tensor | None) -> str:
    """What binds a cohort to its network: its weights, the options that decide an embedding, and the mean."""
    return BINDING + fingerprint(network, deciding, mean)


def any_input_binding(network: SpeakerNet, deciding: Mapping[str, Any], mean: Tensor | None) -> str:
    """The same, whatever --vad, --channel and --precision are: of cohorts that come with a model."""
    deciding = {name: value for name, value in deciding.items() if name not in ADDED_SCORING}
    return ANY_INPUT + fingerprint(network, deciding, mean)


def check_cohort(cohort: Cohort, network: SpeakerNet, values: Options, from_model_file: bool) -> None:
    """Raises ValueError unless a cohort belongs to this network and these options of evaluation.

    A cohort of an earlier version is trusted where it comes from the model file itself, unless embeddings
    were computed otherwise then.
    """
    is_bound = cohort.way.startswith((BINDING, ANY_INPUT))
    if not is_bound and (not from_model_file or _is_newer(values)):
        source = values.cohort or f"the cohort in {values.initial_model}"
        raise ValueError(
            f"{source} was made by an earlier version; make it again: python trainSpeakerNet.py --prepare "
            f"--initial_model {values.initial_model} --cohort_list LIST --cohort_path FOLDER --save_path "
            "FOLDER, and give the file to --cohort"
        )
    binding = any_input_binding if cohort.way.startswith(ANY_INPUT) else cohort_binding
    if is_bound and cohort.way != binding(network, embedding_options(values), cohort.mean):
        raise ValueError(
            "the cohort was made with another network or other options of evaluation; make it again with "
            "--prepare"
        )
    if (cohort.mean is not None) != values.subtract_mean:
        wrong = "has no mean; make it again with" if cohort.mean is None else "was made with"
        raise ValueError(f"the cohort {wrong} --prepare --subtract_mean; give the flag to both or to none")
    if values.score_norm != "none" and not len(cohort.entries):
        raise ValueError(f"the cohort has no entries for --score_norm {values.score_norm}, only a mean")


def require_cohort(origin: Mapping[str, Any], model_file: ModelFile, scores: str) -> None:
    """What made scores by the cohort in a model, the model -> ValueError if it has another cohort now.

    Earlier versions didn't write which one it was.
    """
    digest = "" if model_file.cohort is None else Cohort.from_dict(model_file.cohort, model_file.path).digest
    if origin["cohort_digest"] not in ("", digest):
        raise ValueError(
            f"{model_file.path} has another cohort than when {scores} was made; run --eval again"
        )


def _is_newer(values: Options) -> bool:
    """Whether embeddings are computed in a way that came after cohorts were bound to it."""
    added = ADDED_SCORING.keys() & scoring_options(values).keys()
    return bool(added) or plugin("scoring", values.scoring).version > 1


class LabelledVectors(NamedTuple):
    """Vectors of utterances (U, D), their speakers (U,), and which of them make the cohort (U,)."""

    vectors: Tensor
    labels: Ids
    is_entry: NDArray[np.bool_]


class CohortList:
    """Utterances of many speakers, from which any number of networks make a cohort."""

    def __init__(self, values: Options, device: torch.device, store: EmbeddingStore | None = None) -> None:
        """Reads --cohort_list, or else --train_list: the first --cohort_utterances of each speaker.

        The speakers of --train_list that --validation_speakers sets aside are not among them. With --prepare
        and a backend, which is fitted on all utterances, these are embedded too.
        """
        list_flag = "--cohort_list" if values.cohort_list else "--train_list"
        path_flag = "--cohort_path" if values.cohort_path else "--train_path"
        root = values.cohort_path or values.train_path
        listed = read_train_list(values.cohort_list or values.train_list, values.exclude, list_flag, root)
        if not values.cohort_list:
            listed = set_aside(listed, values.validation_speakers, values.seed).training
        order = np.argsort(listed.labels, kind="stable")
        first = np.searchsorted(listed.labels[order], np.arange(len(listed.speakers)))
        place_in_speaker = np.arange(len(order)) - first[listed.labels[order]]
        is_entry = place_in_speaker < values.cohort_utterances
        takes_all = values.prepare and values.backend != "none"
        kept = order if takes_all else order[is_entry]
        paths = [listed.paths[i] for i in kept]
        self.labels = listed.labels[kept]
        self.is_entry = is_entry if takes_all else is_entry[is_entry]  # whether it is of the cohort
        self.speakers = listed.speakers
        self.values = values
        spans = None if listed.spans is None else listed.spans[kept]
        recordings = Recordings(root, paths, values.channel, spans)
        self.utterances = [recordings.description(number) for number in range(len(paths))]
        self.embedder = build_embedder(recordings, values, device, path_flag, store)

    def mean(self, network: SpeakerNet, stop: StopSignal) -> Tensor | None:
        """Network -> the mean embedding of the cohort (D,); None without --subtract_mean."""
        return self.embedder.mean(network, stop) if self.values.subtract_mean else None

    def vectors(self, network: SpeakerNet, stop: StopSignal, mean: Tensor | None) -> "LabelledVectors | None":
        """Network, mean to be subtracted -> vectors; of several processes only the first one has them."""
        embeddings = None  # where scores aren't products, a cohort is only a mean
        if self.embedder.scoring.is_vector:
            embeddings = self.embedder.embed(network, stop, description="cohort", mean=mean)
        if not distributed.is_first():
            return None
        if embeddings is None:
            return LabelledVectors(torch.zeros(0, 0), self.labels[:0], self.is_entry[:0])
        kept = np.flatnonzero(embeddings.present)
        vectors = embeddings.vectors[torch.from_numpy(kept), 0]
        return LabelledVectors(vectors, self.labels[kept], self.is_entry[kept])

    def cohort(self, network: SpeakerNet, vectors: "LabelledVectors", mean: Tensor | None) -> Cohort:
        """Network, the vectors, mean that was subtracted (D,) -> the cohort."""
        entries = vectors.vectors[torch.from_numpy(vectors.is_entry)]
        labels = vectors.labels[vectors.is_entry]
        if self.values.cohort_entries == "speakers" and len(entries):
            entries, labels = speaker_means(entries, labels)
        deciding = embedding_options(self.values)
        cohort = Cohort(
            entries,
            torch.from_numpy(labels),
            self.speakers,
            self.utterances,
            torch.from_numpy(self.labels),
            mean,
            cohort_binding(network, deciding, mean),
        )
        return cohort if self.values.cohort_names else without_names(cohort, network, deciding)

    def prepare(self, network: SpeakerNet, stop: StopSignal, mean: Tensor | None) -> Cohort | None:
        """Network, mean to be subtracted -> the cohort; of several processes only the first one has it."""
        vectors = self.vectors(network, stop, mean)
        return None if vectors is None else self.cohort(network, vectors, mean)


def save_cohort(folder: RunFolder, log: RunLog, cohort: Cohort | None) -> None:
    """Write a cohort where --cohort can read it; only the first process has one."""
    if cohort is None:
        return
    checkpoint.save_cohort(folder.cohort, cohort._asdict())
    log.say(f"{len(cohort.entries)} cohort entries in {folder.cohort}; --cohort uses them again")
