"""Learned band-pass filters on the waveform, RawNet3's front end (Jung et al. 2022, arXiv:2203.08488).

The parametric filterbank of Pariente et al. 2020 (arXiv:1910.10400, section 3.2): sinc filters (Ravanelli and
Bengio 2018, arXiv:1808.00158) in pairs of a cosine and a sine phase.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE, SHORTEST
from features._filterbank import mel_spaced
from features._spectrum import FrontEnd
from features._steps import pre_emphasise

LOWEST_HZ = 50.0  # added to each filter's learned lower edge
NARROWEST_HZ = 50.0  # added to each filter's learned width
FLOOR = 1e-6  # added to the magnitudes, so that the logarithm of digital silence is finite
PRE_EMPHASIS = 0.97


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> log magnitudes (B, F, L), zero mean over the frames.

    L = 1 + (T - sinc_length) // sinc_stride. Gradients reach the filters' edges.
    """

    window: Tensor
    radians: Tensor

    def __init__(
        self,
        *,
        sinc_filters: Annotated[int, "number of filters F, even"] = 256,
        sinc_length: Annotated[int, "length of the filters in samples, odd"] = 251,
        sinc_stride: Annotated[int, "samples between frames; 16, 10 or 6 in voxceleb_trainer"] = 10,
    ) -> None:
        super().__init__()
        if sinc_filters < 2 or sinc_filters % 2:
            raise ValueError(f"--sinc_filters must be even and at least 2, got {sinc_filters}")
        if not 3 <= sinc_length <= SHORTEST or sinc_length % 2 == 0:
            raise ValueError(f"--sinc_length must be odd, 3 to {SHORTEST}, got {sinc_length}")
        if sinc_stride < 1:
            raise ValueError(f"--sinc_stride must be at least 1, got {sinc_stride}")
        self.num_features = sinc_filters
        self.stride = sinc_stride
        self.length = sinc_length
        self.norm = nn.InstanceNorm1d(1, eps=1e-4, affine=True)
        highest = SAMPLE_RATE / 2 - LOWEST_HZ - NARROWEST_HZ
        edges = mel_spaced(30.0, highest, sinc_filters // 2 + 1).float()
        self.low_hz = nn.Parameter(edges[:-1, None])
        self.band_hz = nn.Parameter((edges[1:] - edges[:-1])[:, None])
        half = sinc_length // 2
        self.register_buffer("window", torch.hamming_window(sinc_length, periodic=False)[:half])
        self.register_buffer("radians", 2.0 * math.pi * torch.arange(-half, 0.0)[None] / SAMPLE_RATE)

    def num_frames(self, num_samples: int) -> int:
        """T samples -> L frames, all inside the waveform."""
        return 1 + (num_samples - self.length) // self.stride

    @runtime.float32
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        waveform = self.norm(pre_emphasise(waveform, PRE_EMPHASIS)[:, None])
        bands = F.conv1d(waveform, self.filters()[:, None], stride=self.stride)  # (B, F, L)
        features = (bands.abs() + FLOOR).log()
        return features - features.mean(dim=2, keepdim=True)

    def filters(self) -> Tensor:
        """Band-pass filters (F, sinc_length): half with a cosine phase, then half with a sine phase."""
        low = LOWEST_HZ + self.low_hz.abs()
        high = (low + NARROWEST_HZ + self.band_hz.abs()).clamp(LOWEST_HZ, SAMPLE_RATE / 2)
        band = high - low  # (F / 2, 1)
        low_phase = low @ self.radians  # (F / 2, sinc_length // 2)
        high_phase = high @ self.radians
        even = (high_phase.sin() - low_phase.sin()) / (self.radians / 2) * self.window
        odd = (low_phase.cos() - high_phase.cos()) / (self.radians / 2) * self.window
        cosine = torch.cat([even, 2 * band, even.flip(1)], dim=1)
        sine = torch.cat([odd, torch.zeros_like(band), -odd.flip(1)], dim=1)
        return torch.cat([cosine / (2 * band), sine / (2 * band)])
