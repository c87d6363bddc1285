"""Steps that several front ends share: pre-emphasis, normalisation over the utterance."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from audio.recording import SAMPLE_RATE

Norm = Literal["instance", "mean", "none"]
NORM_HELP = "per band over the utterance: zero mean and unit variance, zero mean, or nothing"


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
    """(B, F, L) -> the same with one stripe of 0 to `widest` bands (dim 1) or frames (dim 2) set to 0.

    One mask of SpecAugment (Park et al. 2019, arXiv:1904.08779, section 2); 0 is the mean of normalised
    features. Width and place come from numbers (B, 2) in [0, 1), drawn for each utterance.
    """
    size = features.shape[dim]
    widths = (drawn[:, :1] * (min(widest, size) + 1)).floor()
    starts = (drawn[:, 1:] * (size - widths + 1)).floor()
    places = torch.arange(size, device=features.device)
    stripe = (places >= starts) & (places < starts + widths)  # (B, size)
    return features.masked_fill(stripe[:, :, None] if dim == 1 else stripe[:, None, :], 0.0)
