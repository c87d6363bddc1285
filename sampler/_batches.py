"""Batches of tuples of utterances in which no speaker occurs twice: base of the samplers."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class Key(NamedTuple):
    """What a data set makes a batch from: utterances (S, M), one speaker in each row."""

    epoch: int
    utterances: NDArray[np.int64]
    occurrences: NDArray[np.int64]  # (S, M) how often each has been drawn before in the epoch


class SpeakerBatches(Sampler[Key]):
    """Batches of tuples of utterances, no speaker twice in a batch (voxceleb_trainer's rules).

    The tuples of a batch are in random order, so that no process sees some speakers more often than others.
    Each speaker's utterances, at most max_per_speaker an epoch, are shuffled and cut into tuples. The number
    of batches is the largest for which each can have different speakers; it is the same for every epoch. The
    time is linear in the length of the list.
    """

    needs_durations = False
    needs_accuracy = False

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        per_speaker: int,
        max_per_speaker: int,
        seed: int,
        durations: NDArray[np.int64] | None = None,
    ) -> None:
        """Counts the tuples and batches.

        Args:
            labels: (number of utterances,), the speaker of each.
            batch_size: speakers in a batch, of all processes together.
            per_speaker: utterances in a tuple.
            max_per_speaker: utterances of a speaker in an epoch.
            seed: of the random draws.
            durations: (number of utterances,), in samples, if they are known.
        """
        if min(batch_size, per_speaker, max_per_speaker) < 1:
            raise ValueError("--batch_size, --nPerSpeaker and --max_seg_per_spk must be at least 1")
        if self.needs_durations and durations is None:
            raise ValueError(
                "this --sampler takes the lengths of recordings from a pack: make one with "
                "dataprep.py --pack and give its folder as --train_path"
            )
        self.labels = labels
        self.durations = durations
        self.per_speaker = per_speaker
        self.seed = seed
        self.max_tuples = max_per_speaker // per_speaker  # of a speaker in an epoch
        self.num_utterances = np.bincount(labels)  # of each speaker
        utterances = np.minimum(self.num_utterances, max_per_speaker)
        self.tuples = utterances // per_speaker  # different ones of each
        self.num_speakers = int((self.tuples > 0).sum())
        if self.num_speakers == 0:
            cap = f" and --max_seg_per_spk {max_per_speaker}" if max_per_speaker < per_speaker else ""
            raise ValueError(f"no speaker can give {per_speaker} utterances: see --nPerSpeaker{cap}")
        self.fewest_utterances = int(utterances[self.tuples > 0].min())  # of a speaker that can be drawn
        self.batch_size = min(batch_size, self.num_speakers)
        self.num_batches = self._count_batches()
        self.epoch = 0
        self.first_batch = 0
        self.rank = 0
        self.world_size = 1

    def _count_batches(self) -> int:
        """The largest B with sum over speakers of min(tuples, B) >= B * batch_size, by bisection."""
        low = 1
        high = int(self.tuples.sum()) // self.batch_size
        while low < high:
            middle = (low + high + 1) // 2
            if np.minimum(self.tuples, middle).sum() >= middle * self.batch_size:
                low = middle
            else:
                high = middle - 1
        return low

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch, and the batch of it, at which the next iteration begins."""
        self.epoch = epoch
        self.first_batch = first_batch

    def set_rank(self, rank: int, world_size: int) -> None:
        """Yield only this rank's part of each batch; the parts in the order of ranks are the batch.

        Raises:
            ValueError: the world size doesn't divide the batch size.
        """
        if self.batch_size % world_size:
            raise ValueError(
                f"batches of {self.batch_size} speakers can't be split over {world_size} processes; change "
                f"--batch_size, which is that of all together ({self.num_speakers} speakers can be drawn)"
            )
        self.rank = rank
        self.world_size = world_size

    def apportion(self, weights: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Weights (speakers,) -> tuples of each in this epoch, in proportion as far as the caps allow."""
        most = min(self.num_batches, self.max_tuples)
        return apportion(weights * (self.tuples > 0), self.num_batches * self.batch_size, most, generator)

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        raise NotImplementedError

    def set_accuracy(self, accuracy: NDArray[np.float64]) -> None:
        """Accuracy (speakers,) of the last epoch in [0, 1], NaN for those that weren't drawn."""

    def state_dict(self) -> dict[str, Any]:
        """-> what a resumed run needs to draw the same, besides seed and epoch."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what state_dict returned."""

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Key]:
        plan = self.plan(self.epoch)
        occurrences = count_occurrences(plan)
        rows = np.split(np.arange(self.batch_size), self.world_size)[self.rank]
        for batch in range(self.first_batch, len(plan)):
            yield Key(self.epoch, plan[batch, rows], occurrences[batch, rows])

    def plan(self, epoch: int) -> NDArray[np.int64]:
        """Epoch -> utterance indices (batches, batch_size, per_speaker)."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.labels))
        order = order[stable_order(self.labels[order])]  # by speaker, shuffled within each
        starts = np.cumsum(self.num_utterances) - self.num_utterances
        counts = self.draws(generator)
        batches = assign_batches(counts, self.num_batches, generator)  # of each tuple
        tuples = self._cut(order, starts, counts, generator)
        del order  # 80 MB of each ten million utterances
        shuffled = np.argsort(generator.random(len(batches)))
        in_batches = shuffled[stable_order(batches[shuffled])]  # in random order within each
        return tuples[in_batches].reshape(self.num_batches, self.batch_size, self.per_speaker)

    def _cut(
        self,
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        counts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Cut each speaker's shuffled utterances into tuples -> (N, per_speaker), sorted by speaker.

        Other tuples are cut for each further pass over a speaker that is drawn more often than it has tuples.

        Args:
            order: the utterances by speaker.
            starts: (speakers,), the place of each one's first utterance there.
            counts: (speakers,), tuples of each.
            generator: shuffles the utterances for further passes.
        """
        first_rows = np.cumsum(counts) - counts
        places = np.arange(counts.sum()) - np.repeat(first_rows, counts)  # of a tuple among its speaker's
        places %= np.repeat(self.tuples, counts)
        places *= self.per_speaker
        places += np.repeat(starts, counts)
        tuples = order[places[:, None] + np.arange(self.per_speaker)]
        for speaker in np.flatnonzero(counts > self.tuples):
            size = int(self.tuples[speaker])  # tuples in a pass
            utterances = order[starts[speaker] : starts[speaker] + self.num_utterances[speaker]]
            for done in range(size, int(counts[speaker]), size):
                count = min(size, int(counts[speaker]) - done)
                shuffled = generator.permutation(utterances)[: count * self.per_speaker]
                row = first_rows[speaker] + done
                tuples[row : row + count] = shuffled.reshape(count, self.per_speaker)
        return tuples


def apportion(
    weights: NDArray[np.float64], total: int, most: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Weights (speakers,) -> integer shares that add up to total, in proportion but none above most.

    What `most` cuts off goes to the others. Shares are rounded up or down at random so that their expectation
    is the exact share (systematic sampling of the remainders, Madow 1949): none is always rounded down.
    """
    full = np.zeros(len(weights), dtype=bool)
    while True:
        left = total - most * full.sum()
        shares = np.where(full, most, weights * left / max(weights[~full].sum(), 1e-300))
        if not (shares[~full] > most).any():
            break
        full |= shares > most
    counts = np.floor(shares + 1e-9).astype(np.int64)  # a whole share stays whole
    num_rounded_up = total - int(counts.sum())
    order = generator.permutation(len(weights))
    remainders = np.cumsum(np.maximum(shares - counts, 0.0)[order])
    steps = np.floor(remainders * (num_rounded_up / max(remainders[-1], 1e-300)) + generator.random())
    steps = np.minimum(steps, num_rounded_up)
    steps[-1] = num_rounded_up  # whatever was rounded
    counts[order] += np.diff(steps, prepend=0.0).astype(np.int64)
    return counts


def count_occurrences(plan: NDArray[np.int64]) -> NDArray[np.int64]:
    """Utterances of an epoch in their order -> how often each has occurred before, of the same shape."""
    flat = plan.ravel()
    order = stable_order(flat)
    is_first = np.diff(flat[order], prepend=-1) != 0  # the first place of each utterance
    places = np.arange(len(flat))
    occurrences = np.empty_like(flat)
    occurrences[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return occurrences.reshape(plan.shape)


def stable_order(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """np.argsort(keys, kind="stable") of integers from 0 on, in about half the time for many of them.

    NumPy counts integers of 16 bits and compares longer ones, so that 16 bits are sorted at a time.
    """
    order = np.argsort(keys.astype(np.uint16), kind="stable")  # the lowest bits
    for shift in range(16, int(keys.max(initial=0)).bit_length(), 16):
        digits = (keys >> shift).astype(np.uint16)
        order = order[np.argsort(digits[order], kind="stable")]
    return order


def assign_batches(
    counts: NDArray[np.int64], num_batches: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Tuples of each speaker -> the batch of every tuple; batches of equal size, no speaker twice in one.

    Every speaker draws different batches at random. Then tuples are moved from batches with too many to
    batches with too few: the fuller of two batches always has a speaker that the other lacks.
    """
    batches = np.concatenate([generator.choice(num_batches, size=n, replace=False) for n in counts])
    batches = batches.astype(np.int64, copy=False)
    speakers = np.repeat(np.arange(len(counts)), counts)
    order = stable_order(batches)  # tuples by batch, of each batch by speaker
    sizes = np.bincount(batches, minlength=num_batches)
    ends = np.cumsum(sizes)
    of_batches = speakers[order]
    surplus = sizes - len(batches) // num_batches
    takers = iter(generator.permutation(np.repeat(np.arange(num_batches), -surplus.clip(max=0))).tolist())
    added: dict[int, set[int]] = {}  # speakers of the tuples that a batch was given
    for giver in np.flatnonzero(surplus > 0).tolist():
        members = order[ends[giver] - sizes[giver] : ends[giver]].tolist()
        for taker in islice(takers, int(surplus[giver])):
            there = of_batches[ends[taker] - sizes[taker] : ends[taker]]
            more = added.setdefault(taker, set())
            place = next(i for i, each in enumerate(members) if _lacks(there, more, int(speakers[each])))
            position = members.pop(place)
            more.add(int(speakers[position]))
            batches[position] = taker
    return batches


def _lacks(there: NDArray[np.int64], more: set[int], speaker: int) -> bool:
    """Whether a speaker is neither among those of a batch, ascending, nor among those that it was given."""
    place = int(there.searchsorted(speaker))
    return speaker not in more and (place == len(there) or there[place] != speaker)
