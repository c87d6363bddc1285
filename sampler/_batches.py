"""What the samplers share: batches of tuples of utterances in which no speaker comes twice."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

Key = tuple[int, NDArray[np.int64]]  # epoch, utterance indices of a batch (S, M), a speaker in each row


class SpeakerBatches(Sampler[Key]):
    """Batches of tuples of utterances, no speaker twice in a batch (voxceleb_trainer's rules).

    Each speaker's utterances, at most max_per_speaker an epoch, are shuffled and cut into tuples. The
    number of batches is the largest that distinct speakers allow, the same for every epoch, known
    beforehand. Takes time linear in the list.
    """

    needs_durations = False
    learns = False  # whether `learn` wants each speaker's accuracy after an epoch

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        per_speaker: int,
        max_per_speaker: int,
        seed: int,
        durations: NDArray[np.int64] | None = None,  # samples of each utterance, where they are known
    ) -> None:
        if min(batch_size, per_speaker, max_per_speaker) < 1:
            raise ValueError("--batch_size, --nPerSpeaker and --max_seg_per_spk must be at least 1")
        if self.needs_durations and durations is None:
            raise ValueError(
                "this --sampler takes the lengths of recordings from a pack: make one with "
                "dataprep.py --pack and give its folder as --train_path"
            )
        counts = np.bincount(labels)
        self.labels, self.durations, self.per_speaker, self.seed = labels, durations, per_speaker, seed
        self.most = max_per_speaker // per_speaker  # tuples of a speaker in an epoch, whoever draws them
        self.epoch, self.first_batch = 0, 0
        self.rank, self.num_ranks = 0, 1
        self.tuples = np.minimum(counts, max_per_speaker) // per_speaker  # that each speaker has
        self.num_speakers = int((self.tuples > 0).sum())
        if self.num_speakers == 0:
            cap = f" and --max_seg_per_spk {max_per_speaker}" if max_per_speaker < per_speaker else ""
            raise ValueError(f"no speaker can give {per_speaker} utterances: see --nPerSpeaker{cap}")
        self.batch_size = min(batch_size, self.num_speakers)
        self.num_batches = self._count_batches()

    def _count_batches(self) -> int:
        """The largest B with sum over speakers of min(tuples, B) >= B * batch_size, by bisection."""
        low, high = 1, int(self.tuples.sum()) // self.batch_size
        while low < high:
            middle = (low + high + 1) // 2
            enough = np.minimum(self.tuples, middle).sum() >= middle * self.batch_size
            low, high = (middle, high) if enough else (low, middle - 1)
        return low

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch whose batches the next iteration yields, and from which on."""
        self.epoch, self.first_batch = epoch, first_batch

    def split(self, rank: int, num_ranks: int) -> None:
        """Yield this rank's part of each batch only; the ranks' parts one after the other are the batch."""
        if self.batch_size % num_ranks:
            raise ValueError(
                f"batches of {self.batch_size} speakers can't be split over {num_ranks} processes; change "
                f"--batch_size, which is that of all together ({self.num_speakers} speakers can be drawn)"
            )
        self.rank, self.num_ranks = rank, num_ranks

    def share(self, weights: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int64]:
        """Weights (speakers,) -> tuples of each in this epoch, in proportion as far as the caps allow."""
        most = min(self.num_batches, self.most)
        return apportion(weights * (self.tuples > 0), self.num_batches * self.batch_size, most, generator)

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        raise NotImplementedError

    def learn(self, accuracy: NDArray[np.float64]) -> None:
        """Accuracy (speakers,) of the last epoch in [0, 1], NaN for those that weren't drawn."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know to draw the same."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what state_dict returned."""

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[Key]:
        for batch in self.plan(self.epoch)[self.first_batch :]:
            yield self.epoch, np.split(batch, self.num_ranks)[self.rank]

    def plan(self, epoch: int) -> NDArray[np.int64]:
        """Epoch -> utterance indices (batches, batch_size, per_speaker)."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.labels))
        order = order[np.argsort(self.labels[order], kind="stable")]  # by speaker, shuffled within
        starts = np.searchsorted(self.labels[order], np.arange(len(self.tuples)))
        counts = self.draws(generator)
        batches = assign_batches(counts, self.num_batches, generator)  # of each tuple
        speakers = np.repeat(np.arange(len(counts)), counts)
        rank = np.arange(len(speakers)) - np.repeat(np.cumsum(counts) - counts, counts)
        first = starts[speakers] + rank % self.tuples[speakers] * self.per_speaker
        tuples = order[first[:, None] + np.arange(self.per_speaker)]  # (N, per_speaker)
        self._shuffle_again(tuples, counts, order, starts, generator)
        return tuples[np.argsort(batches, kind="stable")].reshape(
            self.num_batches, self.batch_size, self.per_speaker
        )

    def _shuffle_again(
        self,
        tuples: NDArray[np.int64],
        counts: NDArray[np.int64],
        order: NDArray[np.int64],
        starts: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> None:
        """Cut tuples anew for every further pass over a speaker who is drawn more often than it has any."""
        ends = np.append(starts[1:], len(order))
        rows = np.cumsum(counts) - counts  # where each speaker's tuples begin
        for speaker in np.flatnonzero(counts > self.tuples):
            own, size = order[starts[speaker] : ends[speaker]], int(self.tuples[speaker])
            for done in range(size, int(counts[speaker]), size):
                count = min(size, int(counts[speaker]) - done)
                again = generator.permutation(own)[: count * self.per_speaker]
                row = rows[speaker] + done
                tuples[row : row + count] = again.reshape(count, self.per_speaker)


def apportion(
    weights: NDArray[np.float64], total: int, most: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Weights (speakers,) -> whole shares that add up to total, in proportion but none above most.

    What `most` cuts off goes to the others; the largest remainders are rounded up, ties at random.
    """
    shares, full = np.zeros(len(weights)), np.zeros(len(weights), dtype=bool)
    while True:
        left = total - most * full.sum()
        shares = np.where(full, most, weights * left / max(weights[~full].sum(), 1e-300))
        if not (shares[~full] > most).any():
            break
        full |= shares > most
    counts = np.floor(shares).astype(np.int64)
    remainders = np.where((weights > 0) & (counts < most), shares - counts, -1.0)
    by_size = np.lexsort((generator.random(len(weights)), -remainders))
    counts[by_size[: total - counts.sum()]] += 1
    return counts


def assign_batches(
    counts: NDArray[np.int64], num_batches: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Tuples of each speaker -> a batch for every tuple; batches equally full, speakers distinct.

    Every speaker draws different batches at random; then tuples move from batches that got too many
    to those that got too few. The fuller of two batches always has a speaker that the other lacks.
    """
    draws = [generator.choice(num_batches, size=n, replace=False) for n in counts]
    batches = np.concatenate(draws).astype(np.int64)
    speakers = np.repeat(np.arange(len(counts)), counts)
    size = len(batches) // num_batches
    members: list[dict[int, int]] = [{} for _ in range(num_batches)]  # speaker -> tuple
    for position, (batch, speaker) in enumerate(zip(batches.tolist(), speakers.tolist(), strict=True)):
        members[batch][speaker] = position
    lacking = [b for b in range(num_batches) for _ in range(size - len(members[b]))]
    givers = [b for b in range(num_batches) for _ in range(len(members[b]) - size)]
    for giver, taker in zip(givers, generator.permutation(lacking).tolist(), strict=True):
        speaker = next(s for s in members[giver] if s not in members[taker])
        position = members[giver].pop(speaker)
        members[taker][speaker] = position
        batches[position] = taker
    return batches
