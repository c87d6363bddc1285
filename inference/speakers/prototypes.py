"""What a speaker's recordings are compared by: their mean, or each of them, of which the best counts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.speakers.database import Ids, Vectors

Floats = NDArray[np.float64]


class Prototypes(NamedTuple):
    """Vectors (R, D) and their speakers (R,), sorted by speaker; for `mean` one a speaker."""

    vectors: Vectors
    speakers: Ids

    def without(self, speakers: Sequence[int]) -> "Prototypes":
        """All but those of some speakers."""
        kept = ~np.isin(self.speakers, speakers)
        return Prototypes(self.vectors[kept], self.speakers[kept])


def prototypes_of(vectors: Vectors, speakers: Ids, kind: str) -> Prototypes:
    """Vectors of recordings (V, D), their speakers (V,), sorted -> prototypes; kind: mean or max."""
    if kind == "max" or not len(vectors):
        return Prototypes(vectors, speakers)
    first = first_rows(speakers)
    sums = np.add.reduceat(vectors, first, axis=0, dtype=np.float64)
    return Prototypes(unit(sums).astype(np.float32), speakers[first])


def first_rows(speakers: Ids) -> Ids:
    """Sorted speakers (R,) -> the first row of each one."""
    if not len(speakers):
        return np.empty(0, np.int64)
    return np.concatenate(([0], np.flatnonzero(speakers[1:] != speakers[:-1]) + 1))


def unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (..., D) -> length-normalised; zero stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
