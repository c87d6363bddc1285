"""Windows of the features of a recording, and the base classes of the choices."""

from typing import NamedTuple

import torch
from torch import Tensor

from audio.evaluation_crops import evaluation_crops, evenly_spread
from audio.recording import Audio


class Windows(NamedTuple):
    """Windows of the features of a recording, evenly spread over it."""

    length: int  # in samples: a window has as many frames as a waveform of this length
    num_windows: int

    def cut(self, features: Tensor, num_frames: int) -> Tensor:
        """Features of a recording (1, F, L), frames of a window -> its windows (K, F, num_frames)."""
        starts = evenly_spread(features.shape[2], num_frames, self.num_windows)
        return torch.cat([features[:, :, start : start + num_frames] for start in starts])


class CropScoring:
    """Embeds evenly spread crops of one length, or the whole recording."""

    version = 1
    windows: Windows | None = None
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
        # takes less than half the time of einsum, which multiplies N matrices
        return products.sum(dim=(1, 2))
