"""Cohorts, and the mean and deviation of each utterance's cohort scores: base of the score normalisations."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import runtime

Floats = NDArray[np.float64]
Ids = NDArray[np.integer]

BLOCK_VALUES = 1 << 21  # scores in a block: 8 MiB, which stay in the processor's cache
MIN_ROWS = 16  # utterances in a block, however large the cohort is; fewer make matrix products slow
MIN_DEVIATION = 1e-6  # smaller ones are rounding errors: cosines in float32 are exact to about 1e-7


class Statistics(NamedTuple):
    """Mean (U,) and population deviation (U,), above zero, of each utterance's cohort scores."""

    mean: Floats
    deviation: Floats


class CohortStatistics:
    """Statistics of cohort scores, over the whole cohort or its nearest entries; base of the choices."""

    needs_cohort = True

    def __init__(
        self,
        cohort: Tensor,
        speakers: Ids | None = None,
        *,
        top_n: Annotated[
            int, "number of nearest cohort entries that an utterance is normalised by; 0: all"
        ] = 0,
    ) -> None:
        """Cohort vectors (K, D), their speakers (K,); top_n is 0 or at least 2.

        Raises:
            ValueError: wrong shapes, non-finite values, fewer than 2 entries, or another top_n.
        """
        _check_vectors("cohort", cohort, speakers)
        if len(cohort) < 2:
            raise ValueError(f"--score_norm needs a cohort of at least 2 entries, got {len(cohort)}")
        if top_n < 0 or top_n == 1:
            raise ValueError(f"--top_n must be 0 (the whole cohort) or at least 2, got {top_n}")
        self.top_n = top_n
        if speakers is not None:  # sorted, so that the entries of a speaker are a slice
            order = np.argsort(speakers, kind="stable")
            speakers = speakers[order]
            cohort = cohort[torch.from_numpy(order).to(cohort.device)]
        self.speakers = speakers
        self.cohort = cohort.float()

    @torch.inference_mode()
    def statistics(self, vectors: Tensor, speakers: Ids | None = None) -> Statistics:
        """Utterance vectors (U, D), their speakers (U,) -> mean and deviation (U,) of their cohort scores.

        An utterance's cohort are the entries of other speakers, or the top_n of these with the highest
        scores; all if there are fewer. Computed on the device of the vectors, with memory for BLOCK_VALUES
        scores or for MIN_ROWS times the cohort, whichever is more.

        Raises:
            ValueError: wrong shapes, non-finite values, or fewer than 2 entries for an utterance.
        """
        _check_vectors("utterances", vectors, speakers)
        if vectors.shape[1] != self.cohort.shape[1]:
            raise ValueError(
                f"the cohort has vectors of {self.cohort.shape[1]} values, the utterances of "
                f"{vectors.shape[1]}; both must be computed by the same model"
            )
        first, count = self._same_speaker(speakers, len(vectors))
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
        return Statistics(means, np.maximum(deviations, MIN_DEVIATION))

    def _same_speaker(self, speakers: Ids | None, num_utterances: int) -> tuple[Ids, Ids]:
        """Speakers (U,) -> first cohort entry of each one's speaker, number of entries (U,)."""
        if speakers is None:
            return np.zeros(num_utterances, np.int64), np.zeros(num_utterances, np.int64)
        if self.speakers is None:
            raise ValueError("the speakers of the utterances are known, but not those of the cohort")
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
        """Scores (B, K) -> the top_n highest of each row in any order, or all; may reorder the input."""
        size = scores.shape[1]
        if not 0 < self.top_n < size:
            return scores
        if not scores.is_cpu:
            return scores.topk(self.top_n, dim=1, sorted=False).values
        # torch.topk sorts pairs of value and index; NumPy's partition of values alone is ten times as fast
        scores.numpy().partition(size - self.top_n, axis=1)
        return scores[:, size - self.top_n :]


def standardise(scores: Floats, statistics: Statistics, side: Ids) -> Floats:
    """Scores (N,), their utterances on one side (N,) -> (score - mean) / deviation of the utterance (N,).

    Raises:
        ValueError: the numbers of scores and utterances differ.
    """
    if scores.ndim != 1 or scores.shape != side.shape:
        raise ValueError(f"expected one utterance for each score, got {side.shape} for {scores.shape}")
    return (scores - statistics.mean[side]) / statistics.deviation[side]


def speaker_means(vectors: Tensor, speakers: Ids) -> tuple[Tensor, Ids]:
    """Utterance vectors (V, D), their speakers (V,) -> length-normalised means (S, D), speakers (S,) sorted.

    Raises:
        ValueError: wrong shapes, non-finite values, or unknown speakers.
    """
    _check_vectors("cohort utterances", vectors, speakers)
    if len(vectors) == 0:
        raise ValueError("can't make a cohort from a list without utterances")
    if (speakers < 0).any():
        raise ValueError(f"speaker means need every speaker; {np.count_nonzero(speakers < 0)} are unknown")
    ids, rows = np.unique(speakers, return_inverse=True)
    row = torch.from_numpy(rows).to(vectors.device)
    sums = vectors.new_zeros((len(ids), vectors.shape[1]), dtype=torch.float64)
    for block in _blocks(len(row), vectors.shape[1]):
        sums.index_add_(0, row[block], vectors[block].double())
    return F.normalize(sums).float(), ids


def subtract_mean(embeddings: Tensor, mean: Tensor) -> Tensor:
    """Embeddings (..., D), mean embedding (D,) of the cohort -> centred embeddings (..., D).

    To be applied to the embeddings of trials and cohort alike, before scoring.summarise length-normalises
    them.
    """
    if mean.ndim != 1 or embeddings.shape[-1:] != mean.shape:
        raise ValueError(
            f"expected a mean (D,) and embeddings (..., D), got {(*mean.shape,)} and {(*embeddings.shape,)}"
        )
    return embeddings - mean.to(embeddings)


def _check_vectors(name: str, vectors: Tensor, speakers: Ids | None) -> None:
    if vectors.ndim != 2:
        raise ValueError(
            f"{name}: expected one vector for each, (count, D), got {(*vectors.shape,)}; --score_norm needs "
            "a --scoring with one vector for each utterance, such as cosine"
        )
    # aminmax instead of isfinite of all values, which would make a copy
    if len(vectors) and not torch.stack(vectors.aminmax()).isfinite().all():
        raise ValueError(f"{name}: some values are not finite numbers")
    if speakers is not None and speakers.shape != (len(vectors),):
        raise ValueError(f"{name}: expected {len(vectors)} speaker ids, got {speakers.shape}")


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Number of rows, values in a row -> slices of rows that make a block."""
    size = max(MIN_ROWS, BLOCK_VALUES // max(width, 1))
    return (slice(start, start + size) for start in range(0, count, size))


def _spans(first: Ids, count: Ids) -> tuple[Ids, Ids]:
    """First column, length of a span in each row (B,) -> row, column of every position."""
    rows = np.repeat(np.arange(len(first)), count)
    begin = np.cumsum(count) - count  # of each row's span among all positions
    return rows, np.arange(len(rows)) + np.repeat(first - begin, count)


def _mean_and_deviation(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, n), -inf where an entry is left out -> mean, population deviation (B,), float64.

    Two passes, because the difference of mean square and squared mean is inexact for small deviations.
    """
    values = scores.double()
    absent = values == -torch.inf
    count = values.shape[1] - absent.sum(1)
    mean = values.masked_fill_(absent, 0.0).sum(1) / count
    centred = values.sub_(mean[:, None]).masked_fill_(absent, 0.0)
    return mean, (centred.square_().sum(1) / count).sqrt()
