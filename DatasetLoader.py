"""From list files to batches: train lists, data sets, the loaders; the order is made in sampler/."""

import hashlib
import signal
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audio import FULL_SCALE, SKIPPED, Audio, AudioError, Recordings, Remark, Samples, evaluation_crops
from files import Paths, read_lines, read_utterances
from sampler._batches import Key


class TrainList(NamedTuple):
    """Utterances of a train list: speaker names (sorted), label and path of each, repeated lines left out."""

    speakers: list[str]
    labels: NDArray[np.int64]
    paths: Paths
    num_repeated: int
    num_excluded: int = 0

    def digest(self) -> str:
        """A hash of the speakers and paths in their order: what an epoch's draws depend on."""
        names = Paths.of(self.speakers)
        made = hashlib.sha256()
        for part in (names.text, names.ends, self.labels, self.paths.text, self.paths.ends):
            made.update(part.data)
        return made.hexdigest()


def read_train_list(list_path: str, exclude: str = "") -> TrainList:
    """Train list or Kaldi directory -> utterances; a label is the index among the sorted speakers.

    Args:
        list_path: file of `speaker path` lines, or folder with wav.scp and utt2spk.
        exclude: file with paths to leave out, one in a line, as dataprep.py --check writes it.

    Raises:
        ValueError: a line of another form, a path under two speakers, or no line at all.
    """
    names: dict[str, str] = {}  # path -> speaker
    known: dict[str, str] = {}  # each speaker's name once, however many lines hold it
    num_lines = 0
    for number, speaker, path in read_utterances(list_path, "--train_list"):
        num_lines += 1
        speaker = known.setdefault(speaker, speaker)
        if names.setdefault(path, speaker) != speaker:
            raise ValueError(f"{list_path}:{number}: {path} is listed under {names[path]} and {speaker}")
    listed = len(names)
    for _, path in read_lines(exclude, "--exclude") if exclude else ():
        names.pop(path, None)
    if not names:
        raise ValueError(f"{list_path}: --exclude {exclude} leaves nothing of it")
    speakers = sorted(set(names.values()))
    index = {speaker: label for label, speaker in enumerate(speakers)}
    labels = np.fromiter((index[speaker] for speaker in names.values()), np.int64, len(names))
    return TrainList(speakers, labels, Paths.of(names), num_lines - listed, listed - len(names))


class TrainBatch(NamedTuple):
    """Crops (S, M, T), labels (S,), remarks of all."""

    crops: Tensor  # float32 in [-1, 1], or int16 straight from a pack
    labels: Tensor
    remarks: list[Remark]

    def waveforms(self, device: torch.device) -> Tensor:
        """Crops (S, M, T) on the device, float32 in [-1, 1]."""
        crops = self.crops.to(device, non_blocking=True)
        return crops if crops.is_floating_point() else crops.float() / FULL_SCALE


class Draws:
    """Random numbers of each utterance and epoch, the same in every process.

    Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key is (seed, epoch),
    the counter starts at (0, 0, stream, utterance). Setting its state is 5 times as fast as seeding.
    """

    def __init__(self, seed: int) -> None:
        self.seed, self.bits = seed, np.random.Philox(key=0)
        self.generator, self.state = np.random.Generator(self.bits), self.bits.state

    def of(self, epoch: int, utterance: int, stream: int = 0) -> np.random.Generator:
        """The generator of an utterance's stream, good until the next call."""
        self.state["state"]["key"][:] = self.seed, epoch
        self.state["state"]["counter"][:] = 0, 0, stream, utterance
        self.bits.state = self.state
        return self.generator


class TrainDataset(Dataset[TrainBatch | AudioError]):
    """(epoch, utterances) -> a batch of crops that depend on nothing but (seed, epoch, utterance)."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        recordings: Recordings,
        length: int,
        seed: int,
        skip_bad: bool = False,
    ) -> None:
        self.labels, self.recordings = labels, recordings
        self.length, self.skip_bad = length, skip_bad
        self.draws = Draws(seed)
        self.dtype = np.int16 if recordings.pack else np.float32

    def __getitem__(self, key: Key) -> TrainBatch | AudioError:
        """Errors travel as values, so that the main process can raise them in one line."""
        epoch, utterances = key  # (S, M)
        crops = np.empty((*utterances.shape, self.length), self.dtype)
        remarks = list[Remark]()
        try:
            for rows, own in zip(crops, utterances.tolist(), strict=True):
                self._fill(rows, own, epoch, remarks)
        except AudioError as error:
            return error
        return TrainBatch(torch.from_numpy(crops), torch.from_numpy(self.labels[utterances[:, 0]]), remarks)

    def _fill(self, rows: Audio | Samples, utterances: list[int], epoch: int, remarks: list[Remark]) -> None:
        """Crops of one speaker's utterances into rows (M, T).

        With skip_bad, other utterances of the speaker take the place of unusable ones; where there are
        too few, good ones are cropped again.
        """
        good, waiting, whole = list[int](), list(utterances), True
        while waiting and len(good) < len(rows):
            index = waiting.pop(0)
            try:
                self._crop(rows[len(good)], index, epoch, remarks)
                good.append(index)
            except AudioError as error:
                if not self.skip_bad:
                    raise
                waiting += self._others(utterances) if whole else []
                whole = False
                remarks.append(Remark(SKIPPED, str(error)))
        if not good:
            raise AudioError(
                f"{self.recordings.paths[utterances[0]]}: no readable utterance of its speaker is left"
            )
        for place in range(len(good), len(rows)):
            self._crop(rows[place], good[place % len(good)], epoch, remarks, place)

    def _others(self, used: list[int]) -> list[int]:
        """The speaker's other utterances."""
        own = np.flatnonzero(self.labels == self.labels[used[0]]).tolist()
        return [index for index in own if index not in used]

    def _crop(
        self, row: Audio | Samples, index: int, epoch: int, remarks: list[Remark], stream: int = 0
    ) -> None:
        recording = self.recordings[index]
        recording.crop_into(row, self.draws.of(epoch, index, stream))
        remarks += recording.remarks


class EvaluationItem(NamedTuple):
    """One file of a trial list: its number, crops (K, T) or an error, and what was remarkable."""

    number: int
    crops: Tensor
    remarks: list[Remark]
    error: AudioError | None = None


class EvaluationDataset(Dataset[EvaluationItem]):
    """File number -> its evaluation crops; each file is read once and whole."""

    def __init__(self, recordings: Recordings, length: int, num_crops: int) -> None:
        self.recordings, self.length, self.num_crops = recordings, length, num_crops

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, index: int) -> EvaluationItem:
        try:
            audio = self.recordings[index]
            crops = evaluation_crops(audio.whole(), self.length, self.num_crops)
        except AudioError as error:
            return EvaluationItem(index, torch.empty(0, 0), [Remark(SKIPPED, str(error))], error)
        return EvaluationItem(index, torch.from_numpy(crops), audio.remarks)


def _init_worker(_: int) -> None:
    """Leave Ctrl-C, which a terminal sends to the whole group, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


def train_loader(
    dataset: TrainDataset, batches: Sampler[Key], num_workers: int, pin_memory: bool
) -> DataLoader[Any]:
    """Yields a TrainBatch or an AudioError; the workers live as long as the loader."""
    return DataLoader(
        dataset,
        batch_size=None,  # the data set makes whole batches
        sampler=batches,
        num_workers=num_workers,
        collate_fn=_as_it_is,
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
