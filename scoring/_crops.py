"""The parts of a recording that are embedded for scoring, and the base classes of the choices."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from audio.recording import SAMPLE_RATE, SHORTEST, Audio

# Longer whole recordings are embedded in parts, which bounds the memory: at this length CAM++ takes 0.5 GB,
# ResNetSE34L 0.15 GB. The longest utterance of VoxCeleb1 has 145 s.
LONGEST = 150 * SAMPLE_RATE


def evaluation_crops(audio: Audio, length: int, count: int) -> Audio:
    """Audio (T,) -> crops (count, length), evenly spread over it; length 0: the whole recording (1, T).

    Audio that is shorter than a crop, or than 0.3 s, is repeated. Whole recordings of more than LONGEST are
    cut into the fewest parts of one length (k, T / k), rounded up.
    """
    audio = repeated(audio, length or SHORTEST)
    if length == 0:
        count = -(-len(audio) // LONGEST)
        length = -(-len(audio) // count)
    return np.stack([audio[start : start + length] for start in evenly_spread(len(audio), length, count)])


def repeated(audio: Audio, shortest: int) -> Audio:
    """Audio (T,) -> the same, or repeated to the shortest length, in samples, if it is shorter."""
    return audio if len(audio) >= shortest else np.resize(audio, shortest)


def evenly_spread(total: int, length: int, count: int) -> list[int]:
    """Starts of pieces of one length; the first begins at 0, the last one ends at the end."""
    return [int(start) for start in np.linspace(0, total - length, num=count)]


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
