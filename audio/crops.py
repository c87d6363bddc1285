"""Crops of training utterances: reads them, with speed perturbation, and draws their augmentation.

Everything that is drawn for an utterance depends on nothing but (seed, epoch, utterance, occurrence): the
occurrence is how often the utterance has been drawn before in the epoch.
"""

import os
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from audio.augment import Augmenter
from audio.effects import Drawn
from audio.errors import AudioError
from audio.recording import Audio, Samples
from audio.recordings import Recordings
from audio.remarks import SKIPPED, log_remark

CROP_STREAM = 0  # the stream of Draws for crops, their masks and effects
SPEED_STREAM = 1 << 32  # the one for speeds
MAX_WORKERS = 256  # whose last recording is known


class Draws:
    """Random numbers for each occurrence of an utterance in an epoch, the same in every process.

    Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key is (seed, epoch), the
    counter starts at (0, occurrence, stream, utterance). Setting its state is 5 times as fast as seeding.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.bits = np.random.Philox(key=0)
        self.generator = np.random.Generator(self.bits)
        self.state = self.bits.state

    def of(
        self, epoch: int, utterance: int, occurrence: int = 0, stream: int = CROP_STREAM
    ) -> np.random.Generator:
        """The generator of a stream of an utterance's occurrence, valid until the next call."""
        self.state["state"]["key"][:] = self.seed, epoch
        self.state["state"]["counter"][:] = 0, occurrence, stream, utterance
        self.bits.state = self.state
        return self.generator


class CropDraws(NamedTuple):
    """What is drawn for a crop besides its place."""

    masks: NDArray[np.float64] | None  # (2, 2), for SpecAugment
    effects: list[Drawn] | None


class BatchDraws(NamedTuple):
    """The epoch of a batch, the speed of the current speaker, and what is drawn for each crop."""

    epoch: int
    speed: float
    effects: list[list[Drawn]]
    masks: list[NDArray[np.float64]]

    def add(self, drawn: CropDraws) -> None:
        """Append what is drawn for the next crop."""
        if drawn.masks is not None:
            self.masks.append(drawn.masks)
        if drawn.effects is not None:
            self.effects.append(drawn.effects)


class Crops:
    """Crops of the utterances of a train list."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        recordings: Recordings,
        length: int,
        seed: int,
        *,
        skip_bad: bool,
        augmenter: Augmenter | None,
        draws_masks: bool,
    ) -> None:
        """Labels and recordings of the utterances, samples of a crop, the run's seed; see TrainDataset."""
        self.labels = labels
        self.recordings = recordings
        self.length = length
        self.skip_bad = skip_bad
        self.augmenter = augmenter
        self.draws_masks = draws_masks
        self.draws = Draws(seed)
        # what each worker reads, in case it dies: (pid, utterance + 1)
        self.reading = torch.zeros(MAX_WORKERS, 2, dtype=torch.int64).share_memory_()

    @property
    def dtype(self) -> type[np.int16] | type[np.float32]:
        """The type of the samples: 16-bit integers straight from a pack where nothing resamples them."""
        resamples = self.augmenter is not None and len(self.augmenter.speeds) > 1
        return np.int16 if self.recordings.pack and not resamples else np.float32

    def speed(self, epoch: int, utterance: int, occurrence: int) -> tuple[int, float]:
        """Index and factor of the speed at which a speaker's utterances of this batch are played.

        It is drawn for the first of them.
        """
        if self.augmenter is None or len(self.augmenter.speeds) == 1:
            return 0, 1.0
        number = self.augmenter.draw_speed(self.draws.of(epoch, utterance, occurrence, SPEED_STREAM))
        return number, self.augmenter.speeds[number]

    def fill(
        self, rows: Audio | Samples, utterances: list[int], occurrences: list[int], draws: BatchDraws
    ) -> list[int]:
        """Write crops of one speaker's utterances into rows (M, T) -> the utterances that they are of.

        With skip_bad, other utterances of the speaker replace those that can't be used; if there are too
        few, usable ones are cropped again. A row draws by the utterance that was meant for it, so that no two
        rows of an epoch draw the same.
        """

        def crop(row: int, utterance: int) -> CropDraws | None:
            generator = self.draws.of(draws.epoch, utterances[row], occurrences[row])
            return self._crop(rows[row], utterance, generator, draws.speed)

        used = list(utterances)
        drawn = [crop(row, utterance) for row, utterance in enumerate(utterances)]
        others = self._others(utterances) if None in drawn else []
        for row in (row for row, each in enumerate(drawn) if each is None):
            usable = [utterance for utterance, each in zip(used, drawn, strict=True) if each is not None]
            turn = row % max(len(usable), 1)
            for utterance in (*others, *usable[turn:], *usable[:turn]):
                others = [each for each in others if each != utterance]  # each is tried once
                used[row], drawn[row] = utterance, crop(row, utterance)
                if drawn[row] is not None:
                    break
            else:
                path = self.recordings.paths[utterances[0]]
                raise AudioError(f"{path}: no readable utterance of its speaker is left")
        for each in drawn:
            assert each is not None
            draws.add(each)
        return used

    def _others(self, utterances: list[int]) -> list[int]:
        """The other utterances of the same speaker."""
        of_speaker = np.flatnonzero(self.labels == self.labels[utterances[0]]).tolist()
        return [index for index in of_speaker if index not in utterances]

    def _crop(
        self, row: Audio | Samples, index: int, generator: np.random.Generator, speed: float
    ) -> CropDraws | None:
        """Write a crop into row (T,) -> what else is drawn for it; None if the recording is skipped."""
        worker = get_worker_info()
        if worker is not None:
            self.reading.numpy()[worker.id % MAX_WORKERS] = os.getpid(), index + 1
        try:
            recording = self.recordings[index]
            recording.crop_into(row, generator, speed)
        except AudioError as error:
            if not self.skip_bad:
                raise
            log_remark(SKIPPED, str(error))
            return None
        for kind in recording.remarks:
            log_remark(kind, recording.path)
        masks = generator.random((2, 2)) if self.draws_masks else None
        effects = None if self.augmenter is None else self.augmenter.draw(generator, self.length)
        return CropDraws(masks, effects)

    def last_files(self, pids: set[int]) -> str:
        """The recordings that these worker processes read last."""
        paths = self.recordings.paths
        return " or ".join(paths[i - 1] for pid, i in self.reading.tolist() if pid in pids)

    def worker_pids(self) -> set[int]:
        """The worker processes that have read something."""
        return {pid for pid, _ in self.reading.tolist() if pid}
