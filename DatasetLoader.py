"""From list files to batches: train lists, data sets, the loaders; the order is made in sampler/."""

import hashlib
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audio import Audio, AudioError, AudioFile, Remark, evaluation_crops
from files import read_lines

Key = tuple[int, tuple[int, ...]]  # epoch, utterance indices of one speaker; what a sampler yields


class TrainList(NamedTuple):
    """Utterances of a train list: speaker names (sorted), label and path of each, repeated lines left out."""

    speakers: list[str]
    labels: NDArray[np.int64]
    paths: list[str]
    num_repeated: int
    num_excluded: int = 0

    def digest(self) -> str:
        """A hash of the speakers and paths in their order: what an epoch's draws depend on."""
        speakers = (self.speakers[label] for label in self.labels)
        lines = "\n".join(f"{s} {p}" for s, p in zip(speakers, self.paths, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()


def read_train_list(list_path: str, exclude: str = "") -> TrainList:
    """File of `speaker path` lines -> utterances; a label is the index among the sorted speakers.

    Args:
        list_path: the train list.
        exclude: file with paths to leave out, one in a line, as dataprep.py --check writes it.

    Raises:
        ValueError: a line of another form, a path under two speakers, or no line at all.
    """
    names: dict[str, str] = {}  # path -> speaker
    lines = read_lines(list_path, "--train_list")
    for number, line in lines:
        speaker, _, path = line.replace("\t", " ").partition(" ")
        path = path.strip()
        if not path:
            raise ValueError(f'{list_path}:{number}: expected "speaker path", got 1 field')
        if names.setdefault(path, speaker) != speaker:
            raise ValueError(f"{list_path}:{number}: {path} is listed under {names[path]} and {speaker}")
    repeated, listed = len(lines) - len(names), len(names)
    for _, path in read_lines(exclude, "--exclude") if exclude else ():
        names.pop(path, None)
    if not names:
        raise ValueError(f"{list_path}: --exclude {exclude} leaves nothing of it")
    speakers = sorted(set(names.values()))
    index = {speaker: label for label, speaker in enumerate(speakers)}
    labels = np.array([index[speaker] for speaker in names.values()], dtype=np.int64)
    return TrainList(speakers, labels, list(names), repeated, listed - len(names))


class TrainItem(NamedTuple):
    """Crops (M, T) of one speaker, the speaker's label, and what was remarkable."""

    crops: Tensor
    label: int
    remarks: list[Remark]


class TrainBatch(NamedTuple):
    """Crops (S, M, T), labels (S,), remarks of all."""

    crops: Tensor
    labels: Tensor
    remarks: list[Remark]


class TrainDataset(Dataset[TrainItem | AudioError]):
    """(epoch, utterances of one speaker) -> crops that depend on nothing but (seed, epoch, utterance)."""

    def __init__(
        self, utterances: TrainList, root: str, length: int, seed: int, skip_bad: bool = False
    ) -> None:
        self.labels, self.paths, self.root = utterances.labels, utterances.paths, root
        self.length, self.seed, self.skip_bad = length, seed, skip_bad

    def __getitem__(self, key: Key) -> TrainItem | AudioError:
        """Errors travel as values, so that the main process can raise them in one line.

        With skip_bad, other utterances of the speaker take the place of unusable ones; where there are
        too few, good ones are cropped again.
        """
        epoch, indices = key
        crops, good, remarks = list[Audio](), list[int](), list[Remark]()
        waiting, spares = list(indices), None
        while waiting and len(crops) < len(indices):
            index = waiting.pop(0)
            try:
                crops.append(self._crop(index, remarks, epoch))
                good.append(index)
            except AudioError as error:
                if not self.skip_bad:
                    return error
                remarks.append(Remark("skipped", str(error)))
                if spares is None:
                    spares = self._others(indices)
                    waiting += spares
        if not good:
            return AudioError(f"{self.paths[indices[0]]}: no readable utterance of its speaker is left")
        for place in range(len(crops), len(indices)):
            crops.append(self._crop(good[place % len(good)], remarks, epoch, place))
        return TrainItem(torch.from_numpy(np.stack(crops)), int(self.labels[indices[0]]), remarks)

    def _others(self, used: tuple[int, ...]) -> list[int]:
        """The speaker's other utterances."""
        own = np.flatnonzero(self.labels == self.labels[used[0]])
        return [int(index) for index in own if index not in used]

    def _crop(self, index: int, remarks: list[Remark], epoch: int, *again: int) -> Audio:
        generator = np.random.default_rng([self.seed, epoch, index, *again])
        audio = AudioFile(str(Path(self.root) / self.paths[index]))
        crop = audio.crop(self.length, generator)
        remarks.extend(audio.remarks)
        return crop


def collate(items: list[TrainItem | AudioError]) -> TrainBatch | AudioError:
    """Items of a batch -> the batch, or the first error among them."""
    for item in items:
        if isinstance(item, AudioError):
            return item
    crops, labels, remarks = zip(*items, strict=True)
    return TrainBatch(torch.stack(crops), torch.tensor(labels), [r for rs in remarks for r in rs])


class EvaluationItem(NamedTuple):
    """One file of a trial list: its number, crops (K, T) or an error, and what was remarkable."""

    number: int
    crops: Tensor
    remarks: list[Remark]
    error: AudioError | None = None


class EvaluationDataset(Dataset[EvaluationItem]):
    """File number -> its evaluation crops; each file is read once and whole."""

    def __init__(self, paths: list[str], root: str, length: int, num_crops: int) -> None:
        self.paths, self.root, self.length, self.num_crops = paths, root, length, num_crops

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> EvaluationItem:
        try:
            audio = AudioFile(str(Path(self.root) / self.paths[index]))
            crops = evaluation_crops(audio.whole(), self.length, self.num_crops)
        except AudioError as error:
            return EvaluationItem(index, torch.empty(0, 0), [Remark("skipped", str(error))], error)
        return EvaluationItem(index, torch.from_numpy(crops), audio.remarks)


def _init_worker(_: int) -> None:
    """Leave Ctrl-C, which a terminal sends to the whole group, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def train_loader(
    dataset: TrainDataset, sampler: Sampler[list[Key]], num_workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Yields a TrainBatch or an AudioError; the workers live as long as the loader."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=_init_worker,
    )


def evaluation_loader(dataset: EvaluationDataset, files_per_batch: int, num_workers: int) -> DataLoader[Any]:
    """Yields lists of EvaluationItem, in order."""
    return DataLoader(
        dataset,
        batch_size=files_per_batch,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=_init_worker,
    )
