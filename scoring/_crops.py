"""The parts of a recording that are embedded for scoring, and the base classes of the choices."""

import numpy as np
from torch import Tensor

from audio.recording import SHORTEST, Audio


def evaluation_crops(audio: Audio, length: int, count: int) -> Audio:
    """Audio (T,) -> crops (count, length), evenly spread over it; length 0: the whole recording (1, T).

    Audio that is shorter than a crop, or than 0.3 s, is repeated.
    """
    least = length or SHORTEST
    if len(audio) < least:
        audio = np.resize(audio, least)
    if length == 0:
        return audio[None]
    starts = np.linspace(0, len(audio) - length, num=count).astype(int)
    return np.stack([audio[start : start + length] for start in starts])


class CropScoring:
    """Embeds evenly spread crops of one length, or the whole recording."""

    is_vector = False

    def __init__(self, length: int, num_crops: int) -> None:
        """Length of a crop in samples, 0 for whole recordings, and number of crops."""
        self.length = length
        self.num_crops = num_crops

    def crops(self, audio: Audio) -> list[Audio]:
        """Audio (T,) -> one group of crops (K, T)."""
        return [evaluation_crops(audio, self.length, self.num_crops)]


class VectorScoring(CropScoring):
    """A score is the dot product of one vector of each side."""

    is_vector = True

    def score(self, enrol: Tensor, test: Tensor) -> Tensor:
        """Summaries (N, 1, D), (N, 1, D) -> scores (N,)."""
        products = enrol * test
        return products.sum(
            dim=(1, 2)
        )  # takes less than half the time of einsum, which multiplies N matrices
