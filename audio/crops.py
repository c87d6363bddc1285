"""Crops of training utterances: reads them, with speed perturbation, and draws their augmentation.

Everything that is drawn for an utterance depends on nothing but (seed, epoch, utterance).
"""

import os
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from audio.augment import Augmenter
from audio.effects import Drawn
from audio.recording import Audio, AudioError, Samples
from audio.recordings import Recordings
from audio.remarks import SKIPPED, log_remark

SPEED_STREAM = 1 << 32  # the stream of Draws for speeds; smaller ones are for crops
MAX_WORKERS = 256  # whose last recording is known


class Draws:
    """Random numbers for each utterance and epoch, the same in every process.

    Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the key is (seed, epoch), the
    counter starts at (0, 0, stream, utterance). Setting its state is 5 times as fast as seeding.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.bits = np.random.Philox(key=0)
        self.generator = np.random.Generator(self.bits)
        self.state = self.bits.state

    def of(self, epoch: int, utterance: int, stream: int = 0) -> np.random.Generator:
        """The generator of an utterance's stream, valid until the next call."""
        self.state["state"]["key"][:] = self.seed, epoch
        self.state["state"]["counter"][:] = 0, 0, stream, utterance
        self.bits.state = self.state
        return self.generator


class BatchDraws(NamedTuple):
    """The epoch of a batch, the speed of the current speaker, and what is drawn for each crop."""

    epoch: int
    speed: float
    drawn: list[list[Drawn]]
    masks: list[NDArray[np.float64]]


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

    def speed(self, epoch: int, utterance: int) -> tuple[int, float]:
        """Index and factor of the speed at which a speaker's utterances of this batch are played."""
        if self.augmenter is None or len(self.augmenter.speeds) == 1:
            return 0, 1.0
        number = self.augmenter.draw_speed(self.draws.of(epoch, utterance, SPEED_STREAM))
        return number, self.augmenter.speeds[number]

    def fill(self, rows: Audio | Samples, utterances: list[int], draws: BatchDraws) -> list[int]:
        """Write crops of one speaker's utterances into rows (M, T) -> the utterances that they are of.

        With skip_bad, other utterances of the speaker replace those that can't be used; if there are too
        few, usable ones are cropped again.
        """
        usable = list[int]()
        waiting = list(utterances)
        has_others = True
        while waiting and len(usable) < len(rows):
            index = waiting.pop(0)
            try:
                generator = self._crop(rows[len(usable)], index, draws)
            except AudioError as error:
                if not self.skip_bad:
                    raise
                log_remark(SKIPPED, str(error))
                if has_others:
                    waiting += self._others(utterances)
                    has_others = False
                continue
            usable.append(index)
            self._augment(generator, draws)
        if not usable:
            raise AudioError(
                f"{self.recordings.paths[utterances[0]]}: no readable utterance of its speaker is left"
            )
        num_usable = len(usable)
        for row in range(num_usable, len(rows)):
            repeated = usable[row % num_usable]
            self._augment(self._crop(rows[row], repeated, draws, row), draws)
            usable.append(repeated)
        return usable

    def _others(self, utterances: list[int]) -> list[int]:
        """The other utterances of the same speaker."""
        of_speaker = np.flatnonzero(self.labels == self.labels[utterances[0]]).tolist()
        return [index for index in of_speaker if index not in utterances]

    def _crop(
        self, row: Audio | Samples, index: int, draws: BatchDraws, stream: int = 0
    ) -> np.random.Generator:
        """Write a crop into row (T,) -> the generator that drew it."""
        worker = get_worker_info()
        if worker is not None:
            self.reading.numpy()[worker.id % MAX_WORKERS] = os.getpid(), index + 1
        recording = self.recordings[index]
        generator = self.draws.of(draws.epoch, index, stream)
        recording.crop_into(row, generator, draws.speed)
        for kind in recording.remarks:
            log_remark(kind, recording.path)
        return generator

    def _augment(self, generator: np.random.Generator, draws: BatchDraws) -> None:
        """Draw the masks and effects of the crop that the generator drew."""
        if self.draws_masks:
            draws.masks.append(generator.random((2, 2)))
        if self.augmenter is not None:
            draws.drawn.append(self.augmenter.draw(generator, self.length))

    def last_files(self, pids: set[int]) -> str:
        """The recordings that these worker processes read last."""
        paths = self.recordings.paths
        return " or ".join(paths[i - 1] for pid, i in self.reading.tolist() if pid in pids)

    def worker_pids(self) -> set[int]:
        """The worker processes that have read something."""
        return {pid for pid, _ in self.reading.tolist() if pid}
