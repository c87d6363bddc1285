"""Triangular filters and the mel scales on which their edges are evenly spaced."""

import math

import torch
from torch import Tensor


def mel(hz: Tensor) -> Tensor:
    """HTK's scale, 2595 log10(1 + f / 700); Kaldi's is the same up to a factor, which has no effect."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_spaced(lowest_hz: float, highest_hz: float, count: int) -> Tensor:
    """Frequencies (count,) in Hz, evenly spaced on HTK's mel scale, float64."""
    low, high = mel(torch.tensor([lowest_hz, highest_hz], dtype=torch.float64)).tolist()
    return 700.0 * (10.0 ** (torch.linspace(low, high, count, dtype=torch.float64) / 2595.0) - 1.0)


def slaney_spaced(highest_hz: float, count: int) -> Tensor:
    """Frequencies (count,) in Hz from 0, evenly spaced on Slaney's mel scale, float64.

    The scale (Slaney 1998, Auditory Toolbox) is linear to 1 kHz, 15 mel, and logarithmic above it, 27 mel for
    a factor of 6.4.
    """
    step = math.log(6.4) / 27.0
    highest = 15.0 + math.log(highest_hz / 1000.0) / step
    mels = torch.linspace(0.0, highest, count, dtype=torch.float64)
    return torch.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * torch.exp((mels - 15.0) * step))


def bin_frequencies(count: int, highest_hz: float) -> Tensor:
    """Frequencies (count,) of a spectrum's bins in Hz, from 0, float64."""
    return torch.linspace(0.0, highest_hz, count, dtype=torch.float64)


def triangles(bins: Tensor, lower: Tensor, centre: Tensor, upper: Tensor) -> Tensor:
    """Bins (K,) and the corners of triangles (n,), all on one scale -> filters (n, K) with peak 1, float64."""
    lower, centre, upper = lower[:, None], centre[:, None], upper[:, None]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    return torch.minimum(rising, falling).clamp(min=0.0)
