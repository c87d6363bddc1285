"""From recordings to batches: data sets and loaders; the order is made in sampler/."""

import argparse
import multiprocessing
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

import distributed
import options
import runtime
from audio.augment import Augmenter
from audio.effects import Drawn, apply_effects, gather
from audio.lists import read_train_list
from audio.recording import FULL_SCALE, SAMPLE_RATE, Audio, AudioError, Samples, num_samples
from audio.recordings import Recordings
from distributed import launch
from runtime import CPU
from sampler._batches import Key
from storage.run_folder import SKIPPED, Remark

SPEED_STREAM = 1 << 32  # of Draws; smaller ones are of crops
MOST_WORKERS = 256  # whose last file is known
PREFETCHED = 2  # batches that PyTorch's loader keeps ready for each worker


class TrainBatch(NamedTuple):
    """Crops (S, M, T), labels (S,), remarks of all, and the effects that are still to be applied."""

    crops: Tensor  # float32 in [-1, 1], or int16 straight from a pack
    labels: Tensor
    masks: Tensor  # numbers in [0, 1) for SpecAugment (S*M, 2, 2): of bands and frames, width and place
    remarks: list[Remark]
    effects: list[Any]
    utterances: Tensor  # their numbers (S, M)

    def moved(self, device: torch.device) -> "TrainBatch":
        """The same on a device, but for the effects."""
        crops, labels, masks = (tensor.to(device, non_blocking=True) for tensor in self[:3])
        return self._replace(crops=crops, labels=labels, masks=masks)

    def finished(self) -> "TrainBatch":
        """The same, its crops augmented float32 in [-1, 1]."""
        crops = self.crops if self.crops.is_floating_point() else self.crops.float() / FULL_SCALE
        augmented = apply_effects(crops.flatten(0, 1), self.effects).view_as(crops)
        return self._replace(crops=augmented, effects=[])


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


class _Work(NamedTuple):
    """What the crops of one speaker are made with, and what is noted of all crops of the batch."""

    epoch: int
    speed: float
    remarks: list[Remark]
    drawn: list[list[Drawn]]
    masks: list[NDArray[np.float64]]


class TrainDataset(Dataset[TrainBatch | ValueError | OSError]):
    """(epoch, utterances) -> a batch of crops that depend on nothing but (seed, epoch, utterance)."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        recordings: Recordings,
        length: int,
        seed: int,
        skip_bad: bool = False,
        augmenter: Augmenter | None = None,
        speed_classes: int = 0,  # added to a label for each speed but the first
        finish: bool = True,  # whether effects are applied here, else on the device later
        masks: bool = False,  # whether to draw numbers for SpecAugment, else they are zeros
    ) -> None:
        self.labels, self.recordings, self.length, self.skip_bad = labels, recordings, length, skip_bad
        self.augmenter, self.speed_classes, self.finish, self.masks = augmenter, speed_classes, finish, masks
        self.draws = Draws(seed)
        resamples = augmenter is not None and len(augmenter.speeds) > 1
        self.dtype = np.int16 if recordings.pack and not resamples else np.float32
        # what each worker reads, for the case that it dies: (pid, utterance + 1)
        self.reading = torch.zeros(MOST_WORKERS, 2, dtype=torch.int64).share_memory_()

    def __getitem__(self, key: Key) -> TrainBatch | ValueError | OSError:
        """Errors travel as values, so that the main process can raise them in one line."""
        epoch, utterances = key  # (S, M)
        crops = np.empty((*utterances.shape, self.length), self.dtype)
        labels = self.labels[utterances[:, 0]]
        remarks, drawn, masks = list[Remark](), list[list[Drawn]](), list[NDArray[np.float64]]()
        try:
            for place, own in enumerate(utterances.tolist()):
                number, speed = self._speed(epoch, own[0])
                labels[place] += number * self.speed_classes
                self._fill(crops[place], own, _Work(epoch, speed, remarks, drawn, masks))
        except (ValueError, OSError) as error:
            return error
        if self.augmenter is not None:
            remarks += self.augmenter.material.taken_remarks()
        fractions = (
            torch.from_numpy(np.array(masks, np.float32)) if masks else torch.zeros(utterances.size, 2, 2)
        )
        batch = TrainBatch(
            *(torch.from_numpy(crops), torch.from_numpy(labels), fractions, remarks, gather(drawn)),
            torch.from_numpy(utterances),
        )
        return batch.finished() if batch.effects and self.finish else batch

    def _speed(self, epoch: int, utterance: int) -> tuple[int, float]:
        """Number and factor of the speed that a tuple of utterances is played at."""
        if self.augmenter is None or len(self.augmenter.speeds) == 1:
            return 0, 1.0
        number = self.augmenter.draw_speed(self.draws.of(epoch, utterance, SPEED_STREAM))
        return number, self.augmenter.speeds[number]

    def _fill(self, rows: Audio | Samples, utterances: list[int], work: _Work) -> None:
        """Crops of one speaker's utterances into rows (M, T).

        With skip_bad, other utterances of the speaker take the place of unusable ones; where there are
        too few, good ones are cropped again.
        """
        good, waiting, whole = list[int](), list(utterances), True
        while waiting and len(good) < len(rows):
            index = waiting.pop(0)
            try:
                generator = self._crop(rows[len(good)], index, work)
            except AudioError as error:
                if not self.skip_bad:
                    raise
                waiting += self._others(utterances) if whole else []
                whole = False
                work.remarks.append(Remark(SKIPPED, str(error)))
                continue
            good.append(index)
            self._augment(generator, work)
        if not good:
            raise AudioError(
                f"{self.recordings.paths[utterances[0]]}: no readable utterance of its speaker is left"
            )
        for place in range(len(good), len(rows)):
            self._augment(self._crop(rows[place], good[place % len(good)], work, place), work)

    def _others(self, used: list[int]) -> list[int]:
        """The speaker's other utterances."""
        own = np.flatnonzero(self.labels == self.labels[used[0]]).tolist()
        return [index for index in own if index not in used]

    def _crop(self, row: Audio | Samples, index: int, work: _Work, stream: int = 0) -> np.random.Generator:
        """Fill row (T,) with a crop -> the generator that drew it."""
        worker = get_worker_info()
        if worker is not None:
            self.reading.numpy()[worker.id % MOST_WORKERS] = os.getpid(), index + 1
        recording, generator = self.recordings[index], self.draws.of(work.epoch, index, stream)
        recording.crop_into(row, generator, work.speed)
        work.remarks.extend(recording.remarks)
        return generator

    def _augment(self, generator: np.random.Generator, work: _Work) -> None:
        """Draw what else happens to the crop that the generator drew."""
        if self.masks:
            work.masks.append(generator.random((2, 2)))
        if self.augmenter is not None:
            work.drawn.append(self.augmenter.draw(generator, self.length))


class TrainData:
    """The utterances of a run's train list, and the loader that turns them into batches."""

    def __init__(self, args: argparse.Namespace, device: torch.device) -> None:
        """Resolved options -> checked list, sampler and loader; sets args.nClasses if it wasn't given.

        Raises:
            ValueError, FileNotFoundError: the list, the options or a recording can't be.
        """
        self.args, self.utterances = args, read_train_list(args.train_list, args.exclude)
        recordings = Recordings(args.train_path, self.utterances.paths)
        self._check_speakers(recordings)
        self.augmenter = Augmenter.build(args)
        self.sampler = self._sampler(recordings.durations())
        self.sampler.split(*distributed.place())
        speeds = len(self.augmenter.speeds) if self.augmenter and args.speed_classes else 1
        self.num_classes = args.nClasses * speeds
        self.dataset = TrainDataset(
            self.utterances.labels,
            recordings,
            num_samples(args.max_frames),
            args.seed,
            args.skip_bad_audio,
            self.augmenter,
            speed_classes=args.nClasses if speeds > 1 else 0,
            finish=device == CPU,
            masks=args.mask_bands > 0 or args.mask_frames > 0,
        )
        self.loader = train_loader(
            self.dataset, self.sampler, args.nDataLoaderThread, pin_memory=device != CPU
        )

    def _check_speakers(self, recordings: Recordings) -> None:
        """--nClasses against the list; the first recording of every speaker must be there."""
        args, speakers = self.args, self.utterances.speakers
        args.nClasses = args.nClasses or len(speakers)
        if args.nClasses < len(speakers):
            raise ValueError(
                f"--nClasses {args.nClasses} is less than the {len(speakers)} speakers of {args.train_list}; "
                "leave the flag out to take their number"
            )
        if len(speakers) < 2:
            raise ValueError(f"{args.train_list} has one speaker only; there is nothing to tell apart")
        if not args.skip_bad_audio:
            _, first = np.unique(self.utterances.labels, return_index=True)
            recordings.require(first.tolist(), "--train_path")

    def _sampler(self, durations: NDArray[np.int64] | None) -> Any:
        args, labels = self.args, self.utterances.labels
        sizes = (args.batch_size, args.nPerSpeaker, args.max_seg_per_spk)
        sampler = options.build("sampler", args, labels, *sizes, args.seed, durations)
        if sampler.batch_size * args.nPerSpeaker < 2:
            raise ValueError(f"--batch_size {args.batch_size}: batch norm needs two utterances in a batch")
        if sampler.batch_size < 2 <= args.nPerSpeaker:
            raise ValueError(
                f"--batch_size {args.batch_size}: {args.trainfunc} compares the speakers of a batch and "
                f"needs two; {sampler.num_speakers} have {args.nPerSpeaker} utterances (--nPerSpeaker)"
            )
        return sampler

    def describe(self) -> Iterator[str]:
        """Lines for the log."""
        args, utterances, sampler = self.args, self.utterances, self.sampler
        yield (
            f"{len(utterances.paths)} utterances of {len(utterances.speakers)} speakers, {len(sampler)} "
            f"batches of {sampler.batch_size} x {args.nPerSpeaker} an epoch"
        )
        if utterances.num_repeated:
            yield f"note: {utterances.num_repeated} repeated lines of {args.train_list} left out"
        if utterances.num_excluded:
            yield f"note: {utterances.num_excluded} utterances left out by {args.exclude}"
        undrawn = len(utterances.speakers) - sampler.num_speakers
        if undrawn:
            yield f"note: {undrawn} speakers with fewer than {args.nPerSpeaker} utterances are never drawn"
        if sampler.batch_size < args.batch_size:
            yield f"note: batches of {sampler.batch_size} instead of {args.batch_size}: no more speakers"
        if self.augmenter:
            yield self.augmenter.describe()
        if self.batches_mb() > runtime.free_shared_mb():
            yield f"warning: {self.shared_memory()}"
        if self.num_classes > args.nClasses:
            yield f"{self.num_classes} classes: each speaker at each speed; model files keep {args.nClasses}"

    def batches_mb(self) -> float:
        """Size of the batches that the workers may hold in shared memory at a time."""
        samples = self.sampler.batch_size * self.args.nPerSpeaker * self.dataset.length
        effects = self.augmenter is not None  # finished crops are float32; unfinished ones travel with noises
        size = 4 + 4 * (not self.dataset.finish) if effects else np.dtype(self.dataset.dtype).itemsize
        return size * samples / 1e6 * PREFETCHED * self.args.nDataLoaderThread

    def shared_memory(self) -> str:
        """What to do where the batches don't fit into it."""
        return (
            f"shared memory is small: {runtime.free_shared_mb():.0f} MB are free in "
            f"{runtime.SHARED_MEMORY}, the workers' batches may take {self.batches_mb():.0f} MB; give a "
            "container more (docker run --shm-size=8g), or lower --nDataLoaderThread or --batch_size"
        )

    def death(self, error: Exception) -> str:
        """PyTorch's error of a worker process -> what happened, in one line; "" for any other error."""
        text, reading = str(error), self.dataset.reading.tolist()
        if isinstance(error, ConnectionError | EOFError):  # it died while it handed over a batch
            with suppress(RuntimeError):  # PyTorch's news of its end, which is a little later
                time.sleep(1.0)
            alive = {child.pid for child in multiprocessing.active_children()}
            last = [self.dataset.recordings.paths[i - 1] for pid, i in reading if pid and pid not in alive]
            return f"a data worker died; its last file was {' or '.join(last)}" if last else ""
        if "Bus error" in text or "unable to write to file </torch" in text:
            return f"a data worker ran out of memory; {self.shared_memory()}"
        dead = re.search(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:exited|is killed)", text)
        if dead is None:
            return ""
        pids = {int(pid) for pid in dead[1].split(",")}
        paths = self.dataset.recordings.paths
        files = [paths[i - 1] for pid, i in reading if pid in pids]
        return f"{text.splitlines()[0].rstrip('. ')}; its last file was {' or '.join(files) or 'none yet'}"

    def advice(self) -> str:
        """What to change where training waits for data."""
        workers, cores = self.args.nDataLoaderThread, os.cpu_count() or 1
        if workers < cores:
            return f"raise --nDataLoaderThread: {workers} for {cores} cores"
        if self.dataset.recordings.pack is None:
            return "read from a pack (dataprep.py --pack), or WAV files instead of compressed ones"
        return "the processor's cores are all at work; augment less"


class EvaluationItem(NamedTuple):
    """One file of a trial list: its number, groups of crops [(k, T)] or an error, and what was remarkable."""

    number: int
    crops: list[Tensor]
    duration_s: float
    remarks: list[Remark]
    error: ValueError | OSError | None = None  # AudioError if the recording is to blame


class EvaluationDataset(Dataset[EvaluationItem]):
    """Place among the numbers of some files -> what `scoring` embeds; each file is read once and whole."""

    def __init__(self, recordings: Recordings, scoring: Any, numbers: Sequence[int]) -> None:
        self.recordings, self.scoring, self.numbers = recordings, scoring, np.asarray(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> EvaluationItem:
        number = int(self.numbers[index])
        try:
            recording = self.recordings[number]
            audio = recording.whole()
        except (ValueError, OSError) as error:  # as a value, because workers wrap what they raise
            return EvaluationItem(number, [], 0.0, [Remark(SKIPPED, str(error))], error)
        crops = [torch.from_numpy(group) for group in self.scoring.crops(audio)]
        return EvaluationItem(number, crops, len(audio) / SAMPLE_RATE, recording.remarks)


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
        worker_init_fn=launch.leave_stops_to_parent,
    )


def evaluation_loader(dataset: EvaluationDataset, files_per_batch: int, num_workers: int) -> DataLoader[Any]:
    """Yields lists of EvaluationItem, in order."""
    return DataLoader(
        dataset,
        batch_size=files_per_batch,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=launch.leave_stops_to_parent,
    )
