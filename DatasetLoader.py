"""From recordings to batches: data sets and loaders; the order of the utterances is made in sampler/."""

from collections.abc import Iterator, Sequence
from logging import LogRecord
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

import distributed
import options
from audio.augment import Augmenter
from audio.crops import BatchDraws, Crops
from audio.data_workers import DataWorkers
from audio.effects import apply_effects, gather
from audio.held_out import set_aside
from audio.lists import TrainList, names_files, read_train_list
from audio.logging_loader import LoggingLoader, WithRecords, begin_worker
from audio.recording import FULL_SCALE, num_samples
from audio.recordings import Recordings
from audio.remarks import log_remark
from audio.vad import hear
from options import Options
from options.checks import check_batches, larger_batch_advice
from runtime import CPU
from sampler._batches import Key

LOW_SHARE = 0.5  # of the list that an epoch draws, below which a note says why
MAX_COUNTED = 200_000  # utterances of a list for which that is counted


class TrainBatch(NamedTuple):
    """Crops (S, M, T) of S speakers, labels (S,), and the effects that are still to be applied."""

    crops: Tensor  # float32 in [-1, 1], or int16 straight from a pack
    labels: Tensor
    masks: Tensor  # numbers in [0, 1) for SpecAugment (S*M, 2, 2): of bands and frames, width and position
    effects: list[Any]
    utterances: Tensor  # their numbers in the train list (S, M)

    def moved(self, device: torch.device) -> "TrainBatch":
        """The same batch on a device, but for the effects."""
        crops, labels, masks = (tensor.to(device, non_blocking=True) for tensor in self[:3])
        return self._replace(crops=crops, labels=labels, masks=masks)

    def finished(self) -> "TrainBatch":
        """The same batch with augmented crops, float32 in [-1, 1]."""
        crops = self.crops if self.crops.is_floating_point() else self.crops.float() / FULL_SCALE
        augmented = apply_effects(crops.flatten(0, 1), self.effects).view_as(crops)
        return self._replace(crops=augmented, effects=[])


class TrainDataset(Dataset[TrainBatch | ValueError | OSError]):
    """Key -> a batch of crops that depend on nothing but (seed, epoch, utterance, occurrence)."""

    def __init__(
        self,
        labels: NDArray[np.int64],
        recordings: Recordings,
        length: int,
        seed: int,
        *,
        skip_bad: bool = False,
        augmenter: Augmenter | None = None,
        speed_classes: int = 0,
        finish: bool = True,
        masks: bool = False,
    ) -> None:
        """The utterances of a train list.

        Args:
            labels: of the utterances.
            recordings: of the utterances.
            length: samples of a crop.
            seed: of the run.
            skip_bad: put other utterances of the speaker in place of those that can't be read.
            augmenter: what draws the effects; None for plain crops.
            speed_classes: number added to a label for each speed but the first.
            finish: whether effects are applied here; otherwise later, on the device.
            masks: whether to draw numbers for SpecAugment; otherwise they are zeros.
        """
        self.crops = Crops(
            labels,
            recordings,
            length,
            seed,
            skip_bad=skip_bad,
            augmenter=augmenter,
            draws_masks=masks,
        )
        self.speed_classes = speed_classes
        self.finish = finish

    def __getitem__(self, key: Key) -> TrainBatch | ValueError | OSError:
        """Errors are returned as values, so that the main process can raise them in one line."""
        epoch, utterances, occurrences = key
        rows = np.empty((*utterances.shape, self.crops.length), self.crops.dtype)
        labels = self.crops.labels[utterances[:, 0]]
        draws = BatchDraws(epoch, 1.0, [], [])
        used = list[list[int]]()
        try:
            for row in range(len(utterances)):
                of_speaker, seen = utterances[row].tolist(), occurrences[row].tolist()
                number, speed = self.crops.speed(epoch, of_speaker[0], seen[0])
                labels[row] += number * self.speed_classes
                used.append(self.crops.fill(rows[row], of_speaker, seen, draws._replace(speed=speed)))
        except (ValueError, OSError) as error:
            return error
        masks = torch.zeros(utterances.size, 2, 2)
        if draws.masks:
            masks = torch.from_numpy(np.array(draws.masks, np.float32))
        batch = TrainBatch(
            torch.from_numpy(rows),
            torch.from_numpy(labels),
            masks,
            gather(draws.effects),
            torch.tensor(used),
        )
        return batch.finished() if batch.effects and self.finish else batch


class TrainData(NamedTuple):
    """The utterances of a train list, and the loader that turns them into batches."""

    utterances: TrainList  # without those of validation
    validation: TrainList | None  # those of the speakers that are set aside
    dataset: TrainDataset
    sampler: Any
    loader: LoggingLoader
    num_speakers: int  # --nClasses, or those of the list: the classes that a model file keeps
    num_classes: int  # the same, each at every speed
    options: Options

    @classmethod
    def read(cls, options: Options, device: torch.device) -> "TrainData":
        """Resolved options -> checked list, sampler and loader.

        Raises:
            ValueError, FileNotFoundError: the list, an option or a recording can't be used.
        """
        listed = read_train_list(options.train_list, options.exclude, root=options.train_path)
        utterances, validation = set_aside(listed, options.validation_speakers, options.seed)
        recordings = Recordings(options.train_path, utterances.paths, options.channel, utterances.spans)
        has_found = utterances.num_excluded or not utterances.num_to_exclude
        may_miss = has_found or recordings.pack or recordings.tars or options.exclude_may_miss
        if not may_miss and not names_files(options.exclude, options.train_path):
            raise ValueError(
                f"--exclude {options.exclude}: none of its {utterances.num_to_exclude} paths is in "
                f"{options.train_list}; write them as the list does, such as {utterances.paths[0]}, or give "
                "--exclude_may_miss"
            )
        num_speakers = _check_speakers(utterances, recordings, options)
        augmenter = _build_augmenter(options) if options.augment else None
        sampler = _build_sampler(utterances, recordings.durations(), options)
        num_speeds = len(augmenter.speeds) if augmenter and options.speed_classes else 1
        dataset = TrainDataset(
            utterances.labels,
            recordings,
            num_samples(options.max_frames),
            options.seed,
            skip_bad=options.skip_bad_audio,
            augmenter=augmenter,
            speed_classes=num_speakers if num_speeds > 1 else 0,
            finish=device == CPU,
            masks=options.mask_bands > 0 or options.mask_frames > 0,
        )
        loader = train_loader(dataset, sampler, options.nDataLoaderThread, pin_memory=device != CPU)
        return cls(
            utterances,
            validation,
            dataset,
            sampler,
            loader,
            num_speakers,
            num_speakers * num_speeds,
            options,
        )

    def material_digest(self) -> str:
        """A hash of the noises and rooms that augmentation draws from; "" without augmentation."""
        return self.dataset.crops.augmenter.material.digest() if self.dataset.crops.augmenter else ""

    def describe(self) -> Iterator[str]:
        """Lines for the log."""
        utterances, sampler = self.utterances, self.sampler
        yield (
            f"{len(utterances.paths)} utterances of {len(utterances.speakers)} speakers, {len(sampler)} "
            f"batches of {sampler.batch_size} x {self.options.nPerSpeaker} an epoch"
        )
        if utterances.num_repeated:
            yield f"note: {utterances.num_repeated} repeated lines of {self.options.train_list} left out"
        if utterances.num_excluded:
            yield (
                f"note: {utterances.num_excluded} utterances left out by {self.options.exclude}, which has "
                f"{utterances.num_to_exclude} paths"
            )
        yield from self._describe_share()
        undrawn = len(utterances.speakers) - sampler.num_speakers
        if undrawn:
            yield (
                f"note: {undrawn} speakers with fewer than {self.options.nPerSpeaker} utterances are never "
                "drawn"
            )
        if sampler.batch_size < self.options.batch_size:
            yield (
                f"note: batches of {sampler.batch_size} instead of {self.options.batch_size}: no more "
                f"speakers{larger_batch_advice(self.options, sampler.batch_size, sampler.fewest_utterances)}"
            )
        if self.dataset.crops.augmenter:
            yield self.dataset.crops.augmenter.describe()
        if warning := self.workers.memory_warning():
            yield warning
        if self.num_classes > self.num_speakers:
            yield (
                f"{self.num_classes} classes: each speaker at each speed; model files keep "
                f"{self.num_speakers}"
            )
        yield from self._describe_steps()

    def _describe_steps(self) -> Iterator[str]:
        """A line on the optimizer steps of an epoch where they aren't its batches."""
        num_ranks, size = distributed.world_size(), self.sampler.batch_size
        if num_ranks * self.options.accumulate == 1:
            return
        speakers = f"{num_ranks} processes x {size // num_ranks}" if num_ranks > 1 else f"{size}"
        batches = min(self.options.accumulate, len(self.sampler))
        per_speaker = self.options.nPerSpeaker
        yield (
            f"optimizer steps an epoch: {-(-len(self.sampler) // self.options.accumulate)}, of {batches} x "
            f"{speakers} x {per_speaker} = {batches * size * per_speaker} utterances; --lr and decay are "
            "those of a step"
        )

    def _describe_share(self) -> Iterator[str]:
        """A note if an epoch draws little of the list; of long lists the plan would take a second."""
        labels, most = self.utterances.labels, self.options.max_seg_per_spk
        if len(labels) > MAX_COUNTED:
            return
        drawn = len(np.unique(self.sampler.plan(1)))
        if drawn >= LOW_SHARE * len(labels):
            return
        reason = "the speakers of a batch must differ, and few have many; a smaller --batch_size draws more"
        if np.minimum(np.bincount(labels), most).sum() < LOW_SHARE * len(labels):
            reason = f"at most {most} of a speaker; a larger --max_seg_per_spk draws more"
        yield f"note: an epoch draws {drawn} of the {len(labels)} utterances: {reason}"

    @property
    def workers(self) -> DataWorkers:
        """The worker processes of the loader."""
        crops = self.dataset.crops
        sample_bytes = np.dtype(crops.dtype).itemsize
        if crops.augmenter is not None:  # float32; crops whose effects are applied later travel with noises
            sample_bytes = 4 if self.dataset.finish else 8
        batch_bytes = sample_bytes * crops.length * self.sampler.batch_size * self.options.nPerSpeaker
        return DataWorkers(self.options.nDataLoaderThread, crops, batch_bytes / 1e6)


def _check_speakers(utterances: TrainList, recordings: Recordings, options: Options) -> int:
    """Check --nClasses, and that each speaker's first recording exists -> number of classes."""
    num_listed = len(utterances.speakers)
    num_speakers = options.nClasses or num_listed
    if num_speakers < num_listed:
        raise ValueError(
            f"--nClasses {num_speakers} is less than the {num_listed} speakers to train on in "
            f"{options.train_list}; leave the flag out to use their number"
        )
    if num_listed < 2:
        raise ValueError(f"{options.train_list} has one speaker only; there is nothing to tell apart")
    if not options.skip_bad_audio:
        _, first = np.unique(utterances.labels, return_index=True)
        recordings.require(first.tolist(), "--train_path")
    return int(num_speakers)


def _build_augmenter(options: Options) -> Augmenter:
    return Augmenter.build(
        options.augment_chain,
        musan_path=options.musan_path,
        rir_path=options.rir_path,
        skip_bad=options.skip_bad_audio,
        snr_db={"noise": options.snr_noise, "music": options.snr_music, "babble": options.snr_babble},
        voices=options.babble_voices,
        gain_db=options.gain_db,
        eq_db=options.eq_db,
        speeds=options.speeds,
    )


def _build_sampler(utterances: TrainList, durations: NDArray[np.int64] | None, values: Options) -> Any:
    sampler = options.build(
        "sampler",
        values,
        utterances.labels,
        values.batch_size,
        values.nPerSpeaker,
        values.max_seg_per_spk,
        values.seed,
        durations,
    )
    sampler.set_rank(distributed.rank(), distributed.world_size())
    check_batches(values, sampler.batch_size, sampler.num_speakers, distributed.world_size())
    return sampler


class EvaluationItem(NamedTuple):
    """A recording: its number, groups of crops [(k, T)] and durations, or why it can't be used."""

    number: int
    crops: list[Tensor]
    duration_s: float
    speech_s: float
    error: ValueError | OSError | None = None  # AudioError if the recording is the reason


class EvaluationDataset(Dataset[EvaluationItem]):
    """Index into the numbers of some recordings -> what `scoring` embeds; each is read once and whole."""

    def __init__(self, recordings: Recordings, scoring: Any, vad: str, numbers: Sequence[int]) -> None:
        """Recordings, what is embedded of them, the voice activity detector, the numbers of some."""
        self.recordings = recordings
        self.scoring = scoring
        self.vad = vad
        self.numbers = np.asarray(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> EvaluationItem:
        number = int(self.numbers[index])
        try:
            recording = self.recordings[number]
            heard = hear(recording.whole(), self.vad)
        except (ValueError, OSError) as error:  # as a value, because workers wrap what they raise
            return EvaluationItem(number, [], 0.0, 0.0, error)
        for kind in (*recording.remarks, *heard.remarks):
            log_remark(kind, recording.path or self.recordings.paths[number])
        crops = [torch.from_numpy(group) for group in self.scoring.crops(heard.audio)]
        return EvaluationItem(number, crops, heard.duration_s, heard.speech_s)


def _joined(batch: Sequence[tuple[Any, list[LogRecord]]]) -> tuple[list[Any], list[LogRecord]]:
    """Items, each with its records -> the items, the records of all."""
    return [item for item, _ in batch], [record for _, records in batch for record in records]


def train_loader(
    dataset: TrainDataset, batches: Sampler[Key], num_workers: int, pin_memory: bool
) -> LoggingLoader:
    """Yields a TrainBatch or an error; the workers live as long as the loader."""
    loader = DataLoader(
        WithRecords(dataset),
        batch_size=None,  # the data set makes whole batches
        sampler=batches,
        num_workers=num_workers,
        collate_fn=tuple,  # the batch and its records as they are
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=begin_worker,
    )
    return LoggingLoader(loader)


def evaluation_loader(dataset: EvaluationDataset, files_per_batch: int, num_workers: int) -> LoggingLoader:
    """Yields lists of EvaluationItem, in order."""
    loader = DataLoader(
        WithRecords(dataset),
        batch_size=files_per_batch,
        num_workers=num_workers,
        collate_fn=_joined,
        worker_init_fn=begin_worker,
    )
    return LoggingLoader(loader)
