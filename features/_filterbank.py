"""Triangular filters, and the mel scales on which their edges are evenly spaced."""

import math

import torch
from torch import Tensor

from audio.recording import SAMPLE_RATE


def mel(hz: Tensor) -> Tensor:
    """HTK's scale, 2595 log10(1 + f / 700); Kaldi's is a multiple of it, which gives the same filters."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_spaced(lowest_hz: float, highest_hz: float, count: int) -> Tensor:
    """Frequencies (count,) in Hz, evenly spaced on HTK's scale, float64."""
    low, high = mel(torch.tensor([lowest_hz, highest_hz], dtype=torch.float64)).tolist()
    return 700.0 * (10.0 ** (torch.linspace(low, high, count, dtype=torch.float64) / 2595.0) - 1.0)


def slaney_spaced(highest_hz: float, count: int) -> Tensor:
    """Frequencies (count,) in Hz from 0, evenly spaced on Slaney's scale (Auditory Toolbox, 1998), float64.

    Linear to 1 kHz, which is 15 mel, then logarithmic with 27 mel for a factor of 6.4; highest_hz is above
    1 kHz.
    """
    step = math.log(6.4) / 27.0
    highest = 15.0 + math.log(highest_hz / 1000.0) / step
    mels = torch.linspace(0.0, highest, count, dtype=torch.float64)
    return torch.where(mels < 15.0, mels * 200.0 / 3.0, 1000.0 * torch.exp((mels - 15.0) * step))


def triangles(bins: Tensor, lower: Tensor, centre: Tensor, upper: Tensor) -> Tensor:
    """Bins (K,) and corners of triangles (n,), on one scale -> filters (n, K) of height 1, float64.

    Corners may coincide; where the centre is the upper one too, it belongs to the next filter.
    """
    lower = lower[:, None]
    centre = centre[:, None]
    upper = upper[:, None]
    rising = ((bins - lower) / (centre - lower)).nan_to_num(nan=1.0)
    falling = ((upper - bins) / (upper - centre)).nan_to_num(nan=0.0)
    return torch.minimum(rising, falling).clamp(min=0.0)


def mel_triangles(bins_hz: Tensor, n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Bins (K,) in Hz -> filters (n_mels, K) with edges that are linear in mel, as Kaldi's, float64."""
    low, high = mel(torch.tensor([f_min, f_max], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, n_mels + 2, dtype=torch.float64)
    return triangles(mel(bins_hz), edges[:-2], edges[1:-1], edges[2:])


def require_bins(bank: Tensor) -> Tensor:
    """Filters (n, K) -> the same in float32; raises ValueError if one of them contains no bin."""
    if (bank.sum(dim=1) == 0).any():
        raise ValueError(f"--n_mels {len(bank)}: some bands contain no FFT bin; use fewer bands")
    return bank.float()


def slaney_bank(n_mels: int, n_fft: int) -> Tensor:
    """Triangular filters (n_mels, n_fft // 2 + 1), 0 to 8 kHz on Slaney's scale, each with area 1 over Hz."""
    edges = slaney_spaced(SAMPLE_RATE / 2, n_mels + 2)
    lower, upper = edges[:-2], edges[2:]
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, n_fft // 2 + 1, dtype=torch.float64)
    return require_bins(triangles(bins, lower, edges[1:-1], upper) * (2.0 / (upper - lower))[:, None])
