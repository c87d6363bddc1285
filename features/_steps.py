"""Steps of several front ends: pre-emphasis, normalisation over the utterance, SpecAugment's masks."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audio.recording import SAMPLE_RATE

N_FFT = 512  # samples, 32 ms
WINDOW_LENGTH = 400  # samples, 25 ms
HOP_LENGTH = 160  # samples, 10 ms
LARGEST_HOP = 320  # the shortest recordings, 0.3 s, then have 15 frames, the fewest that all models embed
HOP_HELP = "samples between frames; --max_frames and --eval_frames count 10 ms whatever it is"
Norm = Literal["instance", "mean", "none"]
NORM_HELP = "per band over the utterance: zero mean and unit variance (instance), zero mean (mean) or none"


def check_n_mels(n_mels: int) -> None:
    """Raises ValueError for a number of bands that can't be."""
    if n_mels < 1:
        raise ValueError(f"--n_mels must be at least 1, got {n_mels}")


def check_bands(n_mels: int, f_min: float, f_max: float) -> None:
    """Raises ValueError for a number of bands, or edges in Hz, that can't be."""
    check_n_mels(n_mels)
    if not 0.0 <= f_min < f_max <= SAMPLE_RATE / 2:
        raise ValueError(f"expected 0 <= --f_min < --f_max <= 8000, got {f_min:g} and {f_max:g}")


def check_hop(hop_length: int) -> None:
    """Raises ValueError for a number of samples between frames that can't be."""
    if not 1 <= hop_length <= LARGEST_HOP:
        raise ValueError(f"--hop_length must be 1 to {LARGEST_HOP} samples, got {hop_length}")


def pre_emphasise(waveform: Tensor, coefficient: float) -> Tensor:
    """(B, T) -> (B, T): y[n] = x[n] - a x[n-1], with x[-1] = x[1]."""
    delayed = F.pad(waveform[:, None], (1, 0), mode="reflect")[:, 0, :-1]
    return waveform - coefficient * delayed


def normalise(features: Tensor, norm: Norm) -> Tensor:
    """(B, F, L) -> (B, F, L), each band normalised over the frames."""
    if norm == "instance":
        return F.instance_norm(features)
    if norm == "mean":
        return features - features.mean(dim=2, keepdim=True)
    return features


def spec_augment(features: Tensor, widest: tuple[int, int], drawn: Tensor) -> Tensor:
    """(B, F, L) -> (B, F, L), a stripe of bands and one of frames replaced by the mean of the utterance.

    SpecAugment's masks (Park et al. 2019, arXiv:1904.08779, section 2). `widest`: of the stripes, 0 for none.
    `drawn` (B, 2, 2) in [0, 1) decides the width and the start of each utterance's stripes.
    """
    mean = features.mean(dim=(1, 2), keepdim=True)  # (B, 1, 1)
    for dim in (1, 2):
        size = features.shape[dim]
        widths = (drawn[:, dim - 1, :1] * (min(widest[dim - 1], size) + 1)).floor()
        starts = (drawn[:, dim - 1, 1:] * (size - widths + 1)).floor()
        positions = torch.arange(size, device=features.device)
        stripe = (positions >= starts) & (positions < starts + widths)  # (B, size)
        features = torch.where(stripe[:, :, None] if dim == 1 else stripe[:, None, :], mean, features)
    return features
