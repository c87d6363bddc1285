"""Power spectra of overlapping frames, by FFT or, for runtimes without one, by convolution."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Spectrum(nn.Module):
    """Waveforms (B, T) -> power (B, L, n_fft // 2 + 1), L = 1 + (T - window) // hop_length, by FFT.

    Args:
        window: (W,), as long as a frame; frames are padded with zeros to n_fft samples.
        prepare: linear steps on frames (..., W) before the window.
    """

    window: Tensor

    def __init__(
        self,
        window: Tensor,
        n_fft: int,
        hop_length: int,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.prepare = prepare
        self.register_buffer("window", window, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, L, n_fft // 2 + 1)."""
        spectrum = self.transform(waveform.unfold(1, len(self.window), self.hop_length))
        return spectrum.real.square() + spectrum.imag.square()

    def transform(self, frames: Tensor) -> Tensor:
        """Frames (..., W) -> their spectra (..., n_fft // 2 + 1), complex."""
        if self.prepare is not None:
            frames = self.prepare(frames)
        return torch.fft.rfft(frames * self.window, self.n_fft)

    def as_convolution(self) -> "ConvolutionSpectrum":
        """The same spectra from a convolution with the transforms of unit impulses."""
        impulses = torch.eye(len(self.window), dtype=torch.float64, device=self.window.device)
        spectra = self.transform(impulses).T  # (bins, W)
        return ConvolutionSpectrum(torch.cat([spectra.real, spectra.imag]).float(), self.hop_length)


class ConvolutionSpectrum(nn.Module):
    """Waveforms (B, T) -> power (B, L, bins) by a convolution with real and imaginary kernels (2 bins, W)."""

    kernels: Tensor

    def __init__(self, kernels: Tensor, hop_length: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.register_buffer("kernels", kernels[:, None], persistent=False)  # (2 bins, 1, W)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, L, bins)."""
        parts = F.conv1d(waveform[:, None], self.kernels, stride=self.hop_length).square()  # (B, 2 bins, L)
        real, imaginary = parts.chunk(2, dim=1)
        return (real + imaginary).transpose(1, 2)
