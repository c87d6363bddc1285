"""What of a recording is embedded to be compared."""

import numpy as np
from torch import Tensor

from audio.recording import SHORTEST, Audio


def evaluation_crops(audio: Audio, length: int, count: int) -> Audio:
    """Audio (T,) -> crops (count, length) spread evenly over it; length 0: the whole, (1, T).

    Audio that is shorter than a crop, or than 0.3 s, is repeated.
    """
    least = length or SHORTEST
    if len(audio) < least:
        audio = np.resize(audio, least)
    if length == 0:
        return audio[None]
    starts = np.linspace(0, len(audio) - length, num=count).astype(int)
    return np.stack([audio[start : start + length] for start in starts])


class Cropping:
    """Evenly spread crops of one length, or the whole recording; base of the choices."""

    is_vector = True

    def __init__(self, length: int, num_crops: int) -> None:
        """Samples of a crop, 0 for whole recordings; how many crops."""
        self.length, self.num_crops = length, num_crops

    def crops(self, audio: Audio) -> list[Audio]:
        """Audio (T,) -> one group of crops, (K, T)."""
        return [evaluation_crops(audio, self.length, self.num_crops)]


class DotProduct(Cropping):
    """A score that is the dot product of one vector of each side."""

    def score(self, enrol: Tensor, test: Tensor) -> Tensor:
        """Summaries (N, 1, D), (N, 1, D) -> scores (N,)."""
        return (enrol * test).sum(
            dim=(1, 2)
        )  # less than half as long as einsum, which makes N matrix products
