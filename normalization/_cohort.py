"""What the score normalisations share: cohorts, and each utterance's mean and deviation of cohort scores."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import runtime

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]

BLOCK_VALUES = 1 << 21  # scores at a time: 8 MiB, which stay in the cache between the steps
LEAST_ROWS = 16  # utterances in a block however large the cohort is, so that products stay products
LEAST_DEVIATION = 1e-6  # below it there is only rounding: cosines in float32 are exact to about 1e-7


class Statistics(NamedTuple):
    """Of each utterance's scores against its cohort: mean (U,), population deviation (U,) above zero."""

    mean: Floats
    deviation: Floats


class CohortStatistics:
    """A cohort and how many of its entries count for an utterance; base of the choices that need one."""

    needs_cohort = True

    def __init__(
        self,
        cohort: Tensor,
        speakers: Ids | None = None,
        *,
        top_n: Annotated[int, "nearest cohort entries that count for an utterance; 0: all"] = 0,
    ) -> None:
        """Cohort vectors (K, D), their speakers (K,); top_n = 0 for all entries, else at least 2.

        Raises:
            ValueError: another shape, values that aren't finite, fewer than 2 entries, top_n of 1 or below 0.
        """
        _check_vectors("cohort", cohort, speakers)
        if len(cohort) < 2:
            raise ValueError(f"--score_norm needs a cohort of at least 2 entries, got {len(cohort)}")
        if top_n < 0 or top_n == 1:
            raise ValueError(f"--top_n must be 0 (the whole cohort) or at least 2, got {top_n}")
        self.top_n, self.speakers = top_n, speakers
        if speakers is not None:  # by speaker, so that those of one speaker lie together
            order = np.argsort(speakers, kind="stable")
            cohort, self.speakers = cohort[torch.from_numpy(order).to(cohort.device)], speakers[order]
        self.cohort = cohort.float()

    @torch.inference_mode()
    def statistics(self, vectors: Tensor, speakers: Ids | None = None) -> Statistics:
        """Utterance vectors (U, D), their speakers (U,) -> mean and deviation (U,) of their cohort scores.

        An utterance's cohort are all entries but those of its own speaker, or the top_n of them with the
        highest scores; all where fewer are left. Computed on the device of the vectors. Needs room for
        BLOCK_VALUES scores, or LEAST_ROWS times the cohort's.

        Raises:
            ValueError: other shapes, values that aren't finite, fewer than 2 entries left for an utterance.
        """
        _check_vectors("utterances", vectors, speakers)
        if vectors.shape[1] != self.cohort.shape[1]:
            raise ValueError(
                f"the cohort has vectors of {self.cohort.shape[1]} values, the utterances of "
                f"{vectors.shape[1]}: they come from different models"
            )
        first, count = self._own_entries(speakers, len(vectors))
        cohort = self.cohort.to(vectors.device)
        means, deviations = np.empty(len(vectors)), np.empty(len(vectors))
        for block in _blocks(len(vectors), len(cohort)):
            scores = self._product(vectors[block], cohort)  # (B, K)
            rows, columns = (
                torch.from_numpy(i).to(scores.device) for i in _spans(first[block], count[block])
            )
            scores[rows, columns] = -torch.inf
            mean, deviation = _mean_and_deviation(self._nearest(scores))
            means[block], deviations[block] = mean.cpu().numpy(), deviation.cpu().numpy()
        return Statistics(means, np.maximum(deviations, LEAST_DEVIATION))

    def _own_entries(self, speakers: Ids | None, num_utterances: int) -> tuple[Ids, Ids]:
        """Speakers (U,) -> where each one's entries begin in the cohort, how many they are (U,)."""
        if speakers is None:
            return np.zeros(num_utterances, np.int64), np.zeros(num_utterances, np.int64)
        if self.speakers is None:
            raise ValueError("the utterances' speakers are known, but not those of the cohort")
        first = np.searchsorted(self.speakers, speakers, side="left")
        count = np.searchsorted(self.speakers, speakers, side="right") - first
        count[speakers < 0] = 0
        left = len(self.speakers) - count
        if (left < 2).any():
            worst = int(left.argmin())
            raise ValueError(
                f"--score_norm needs at least 2 cohort entries of other speakers for each utterance, got "
                f"{left[worst]} for utterance {worst} of speaker {speakers[worst]}"
            )
        return first, count

    @runtime.float32
    def _product(self, vectors: Tensor, cohort: Tensor) -> Tensor:
        return vectors @ cohort.T  # (B, D), (K, D) -> (B, K)

    def _nearest(self, scores: Tensor) -> Tensor:
        """Scores (B, K) -> the top_n highest of each row in any order, or all; may reorder its input."""
        size = scores.shape[1]
        if not 0 < self.top_n < size:
            return scores
        if not scores.is_cpu:
            return scores.topk(self.top_n, dim=1, sorted=False).values
        # torch.topk sorts pairs of value and index; NumPy's partition of values alone is ten times as fast
        scores.numpy().partition(size - self.top_n, axis=1)
        return scores[:, size - self.top_n :]


def standardise(scores: Floats, statistics: Statistics, side: Ids) -> Floats:
    """Scores (N,), the utterance of each on one side (N,) -> (score - mean) / deviation of it (N,).

    Raises:
        ValueError: not as many scores as utterances.
    """
    if scores.ndim != 1 or scores.shape != side.shape:
        raise ValueError(f"expected an utterance for each score, got {side.shape} for {scores.shape}")
    return (scores - statistics.mean[side]) / statistics.deviation[side]


def speaker_means(vectors: Tensor, speakers: Ids) -> tuple[Tensor, Ids]:
    """Utterance vectors (V, D), their speakers (V,) -> length-normalised means (S, D), speakers (S,) sorted.

    Raises:
        ValueError: other shapes, values that aren't finite, unknown speakers.
    """
    _check_vectors("cohort utterances", vectors, speakers)
    if len(vectors) == 0:
        raise ValueError("no cohort from a list without utterances")
    if (speakers < 0).any():
        raise ValueError(f"speaker means need every speaker; {np.count_nonzero(speakers < 0)} are unknown")
    ids, rows = np.unique(speakers, return_inverse=True)
    row = torch.from_numpy(rows).to(vectors.device)
    sums = vectors.new_zeros((len(ids), vectors.shape[1]), dtype=torch.float64)
    for block in _blocks(len(row), vectors.shape[1]):
        sums.index_add_(0, row[block], vectors[block].double())
    return F.normalize(sums).float(), ids


def subtract_mean(embeddings: Tensor, mean: Tensor) -> Tensor:
    """Embeddings (..., D) as the network gives them, mean (D,) of a cohort's -> those to length-normalise.

    Both the trials' embeddings and the cohort's own go through it, before scoring.summarise.
    """
    if mean.ndim != 1 or embeddings.shape[-1:] != mean.shape:
        raise ValueError(
            f"expected a mean (D,) of embeddings (..., D), got {(*mean.shape,)}, {(*embeddings.shape,)}"
        )
    return embeddings - mean.to(embeddings)


def _check_vectors(name: str, vectors: Tensor, speakers: Ids | None) -> None:
    if vectors.ndim != 2:
        raise ValueError(
            f"{name}: expected one vector for each, (count, D), got {(*vectors.shape,)}; --score_norm needs "
            "another --scoring, such as cosine"
        )
    if len(vectors) and not torch.stack(vectors.aminmax()).isfinite().all():  # makes no copy, unlike isfinite
        raise ValueError(f"{name}: some values are not finite numbers")
    if speakers is not None and speakers.shape != (len(vectors),):
        raise ValueError(f"{name}: expected {len(vectors)} speaker ids, got {speakers.shape}")


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Rows of so many values -> slices of as many rows as make a block."""
    size = max(LEAST_ROWS, BLOCK_VALUES // max(width, 1))
    return (slice(start, start + size) for start in range(0, count, size))


def _spans(first: Ids, count: Ids) -> tuple[Ids, Ids]:
    """Where each row's span begins and its length (B,) -> row and column of every place in the spans."""
    rows = np.repeat(np.arange(len(first)), count)
    begin = np.cumsum(count) - count  # of each row's span among all places
    return rows, np.arange(len(rows)) + np.repeat(first - begin, count)


def _mean_and_deviation(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, n), -inf where an entry is left out -> mean, population deviation (B,), float64.

    Two passes, because the difference of mean square and squared mean loses what small deviations have.
    """
    values = scores.double()
    absent = values == -torch.inf
    count = values.shape[1] - absent.sum(1)
    mean = values.masked_fill_(absent, 0.0).sum(1) / count
    centred = values.sub_(mean[:, None]).masked_fill_(absent, 0.0)
    return mean, (centred.square_().sum(1) / count).sqrt()
