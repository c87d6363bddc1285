"""Means and deviations of cohort scores, by which scores are normalised as --score_norm asnorm does.

Adaptive s-norm (Matejka et al. 2017, AS-norm1) as in normalization/asnorm.py, over NumPy arrays: a search
must not wait for PyTorch.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.speakers.database import Vectors
from inference.speakers.prototypes import Floats

BLOCK_VALUES = 1 << 21  # scores in a block
MIN_DEVIATION = 1e-6  # as in normalization/_cohort.py


class CohortScores(NamedTuple):
    """Mean (U,) and population deviation (U,) of each vector's cohort scores."""

    mean: Floats
    deviation: Floats


class Cohort:
    """Vectors of other speakers, by which scores are normalised."""

    def __init__(self, vectors: ArrayLike, top_n: int = 300) -> None:
        """Cohort vectors (K, D); top_n: number of nearest ones that count, 0 = all (s-norm).

        Raises:
            ValueError: fewer than 2 vectors, values that aren't finite, or another top_n.
        """
        self.vectors = np.ascontiguousarray(vectors, np.float32)
        if self.vectors.ndim != 2 or len(self.vectors) < 2 or not np.isfinite(self.vectors).all():
            raise ValueError(f"cohort: expected 2 or more vectors (K, D), got {self.vectors.shape}")
        if top_n < 0 or top_n == 1:
            raise ValueError(f"top_n must be 0 (the whole cohort) or at least 2, got {top_n}")
        self.top_n = min(top_n, len(self.vectors)) or len(self.vectors)

    @property
    def digest(self) -> str:
        """A text that is the same for the same vectors and top_n."""
        content = hashlib.sha256(f"asnorm {self.top_n} {self.vectors.shape}".encode())
        content.update(self.vectors.tobytes())
        return content.hexdigest()

    def scores(self, vectors: Vectors) -> CohortScores:
        """Vectors (U, D) -> mean and deviation (U,) of their top_n highest cohort scores."""
        size = len(self.vectors)
        means, deviations = np.empty(len(vectors)), np.empty(len(vectors))
        step = max(16, BLOCK_VALUES // size)
        for start in range(0, len(vectors), step):
            block = slice(start, start + step)
            scores = vectors[block] @ self.vectors.T  # (B, K)
            if self.top_n < size:
                scores.partition(size - self.top_n, axis=1)
                scores = scores[:, size - self.top_n :]
            means[block] = scores.mean(axis=1, dtype=np.float64)
            deviations[block] = scores.std(axis=1, dtype=np.float64)
        return CohortScores(means, np.maximum(deviations, MIN_DEVIATION))


def normalised(scores: NDArray[np.floating], tests: CohortScores, prototypes: CohortScores) -> Floats:
    """Scores (U, R), cohort scores of the vectors (U,) and of the prototypes (R,) -> as-normed (U, R)."""
    by_test = (scores - tests.mean[:, None]) / tests.deviation[:, None]
    by_prototype = (scores - prototypes.mean) / prototypes.deviation
    return (by_test + by_prototype) / 2.0


def normalised_pairs(scores: Floats, one: CohortScores, other: CohortScores) -> Floats:
    """Scores (n,) of pairs, cohort scores of both sides (n,) -> as-normed (n,)."""
    result: Floats = ((scores - one.mean) / one.deviation + (scores - other.mean) / other.deviation) / 2.0
    return result
