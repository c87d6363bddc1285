"""Cohorts for score normalisation: made of a list of speakers, kept in a file."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

import distributed
from audio.lists import read_train_list
from audio.recordings import Recordings
from distributed.signals import StopSignal
from evaluation.embedder import Embedder
from evaluation.store import fingerprint
from normalization._cohort import Ids, speaker_means
from SpeakerNet import SpeakerNet
from storage import checkpoint
from storage.run_folder import Remark, RunFolder


class Cohort(NamedTuple):
    """What scores are normalised by: vectors of speakers or utterances, and whose are which recordings."""

    entries: Tensor  # (K, D)
    labels: Tensor  # (K,) speakers of the entries, as indices of `speakers`
    speakers: list[str]
    paths: list[str]  # of the recordings that the entries were made of
    path_labels: Tensor
    mean: Tensor | None  # (D,) of all embeddings, to be taken off before scoring; None if it isn't
    way: str  # fingerprint of what embedded it

    @classmethod
    def of(cls, content: Any, source: str) -> Self:
        """What a file holds -> the cohort; raises ValueError with the file's path if it isn't one."""
        kinds: dict[str, Any] = {
            "entries": Tensor,
            "labels": Tensor,
            "speakers": list,
            "paths": list,
            "path_labels": Tensor,
        }
        kinds |= {"mean": Tensor | None, "way": str}
        found = content if isinstance(content, dict) else {}
        if found.keys() != kinds.keys() or not all(isinstance(found[k], t) for k, t in kinds.items()):
            raise ValueError(f"{source}: its cohort is damaged; make it anew with --prepare")
        return cls(**found)

    def speakers_of(self, paths: Sequence[str]) -> Ids:
        """Paths -> labels of their speakers, by path or by a folder's name; -1 where the cohort has none."""
        labels = {speaker: label for label, speaker in enumerate(self.speakers)}
        numbers = dict(zip(self.paths, self.path_labels.tolist(), strict=True))
        found = np.full(len(paths), -1)
        for i, path in enumerate(paths):
            own = (labels[part] for part in path.split("/")[:-1] if part in labels)
            found[i] = numbers.get(path, next(own, -1))
        return found


class CohortList:
    """Utterances of many speakers, to make a cohort of by any number of networks."""

    def __init__(
        self,
        args: argparse.Namespace,
        device: torch.device,
        remark: Callable[[Iterable[Remark]], None],
        store: Path | None = None,
    ) -> None:
        """Reads --cohort_list, of each speaker its first --cohort_utterances."""
        self.args = args
        listed = read_train_list(args.cohort_list or args.train_list, args.exclude, "--cohort_list")
        order = np.argsort(listed.labels, kind="stable")
        first = np.searchsorted(listed.labels[order], np.arange(len(listed.speakers)))
        place = np.arange(len(order)) - first[listed.labels[order]]
        kept = order[place < args.cohort_utterances]
        self.paths = [listed.paths[i] for i in kept]
        recordings = Recordings(args.cohort_path or args.train_path, self.paths)
        if not args.skip_bad_audio:
            recordings.require(range(len(recordings)), "--cohort_path")
        self.labels, self.speakers = listed.labels[kept], listed.speakers
        self.embedder = Embedder(recordings, args, device, remark, store)

    def mean(self, network: SpeakerNet, stop: StopSignal) -> Tensor | None:
        """Network -> the mean embedding of the cohort (D,); None without --subtract_mean."""
        return self.embedder.mean(network, stop) if self.args.subtract_mean else None

    def prepare(
        self, network: SpeakerNet, normalize: bool, stop: StopSignal, mean: Tensor | None
    ) -> Cohort | None:
        """Network, mean to be taken off -> the cohort; of several processes only the first one has it."""
        embedded = None  # where scores aren't products, there is only a mean
        if self.embedder.scoring.is_vector:
            embedded = self.embedder.embed(network, normalize, stop, "cohort", mean)
        if not distributed.is_first():
            return None
        entries, labels = torch.zeros(0, 0), self.labels[:0]
        if embedded is not None:
            kept = np.flatnonzero(embedded.there)
            entries, labels = embedded.vectors[torch.from_numpy(kept), 0], self.labels[kept]
            if self.args.cohort_entries == "speakers":
                entries, labels = speaker_means(entries, labels)
        owners = torch.from_numpy(self.labels)
        way = fingerprint(network, self.args, normalize)
        return Cohort(entries, torch.from_numpy(labels), self.speakers, self.paths, owners, mean, way)


def save_cohort(folder: RunFolder, cohort: Cohort | None) -> None:
    """Write a cohort where --cohort finds it; only the first process has one."""
    if cohort is None:
        return
    checkpoint.save_cohort(folder.cohort, cohort._asdict())
    folder.say(f"{len(cohort.entries)} cohort entries in {folder.cohort}; --cohort uses them again")
