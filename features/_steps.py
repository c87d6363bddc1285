"""Steps of several front ends: pre-emphasis, normalisation over the utterance, SpecAugment's masks."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audio.recording import SAMPLE_RATE

N_FFT = 512  # samples, 32 ms
WINDOW_LENGTH = 400  # samples, 25 ms
HOP_LENGTH = 160  # samples, 10 ms
Norm = Literal["instance", "mean", "none"]
NORM_HELP = "per band over the utterance: zero mean and unit variance (instance), zero mean (mean) or none"


def check_bands(n_mels: int, f_min: float, f_max: float) -> None:
    """Raises ValueError for a number of bands, or edges in Hz, that can't be."""
    if n_mels < 1:
        raise ValueError(f"--n_mels must be at least 1, got {n_mels}")
    if not 0.0 <= f_min < f_max <= SAMPLE_RATE / 2:
        raise ValueError(f"expected 0 <= --f_min < --f_max <= 8000, got {f_min:g} and {f_max:g}")


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


def mask(features: Tensor, widest: int, dim: int, drawn: Tensor) -> Tensor:
    """(B, F, L) -> (B, F, L) with one stripe of 0 to `widest` bands (dim 1) or frames (dim 2) set to 0.

    One mask of SpecAugment (Park et al. 2019, arXiv:1904.08779, section 2); 0 is the mean of normalised
    features. `drawn` (B, 2) in [0, 1) decides the width and the start of each utterance's stripe.
    """
    size = features.shape[dim]
    widths = (drawn[:, :1] * (min(widest, size) + 1)).floor()
    starts = (drawn[:, 1:] * (size - widths + 1)).floor()
    positions = torch.arange(size, device=features.device)
    stripe = (positions >= starts) & (positions < starts + widths)  # (B, size)
    return features.masked_fill(stripe[:, :, None] if dim == 1 else stripe[:, None, :], 0.0)
