"""Power spectra of overlapping frames, by FFT or, for runtimes without one, by convolution."""

from collections.abc import Callable
from copy import deepcopy
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FrontEnd(nn.Module):
    """Base of the front ends; takes care of their form without FFT."""

    def as_convolution(self) -> Self:
        """A copy that computes the same features by convolutions and matrix products, without FFT."""
        copy = deepcopy(self)
        device = next(self.buffers(), torch.empty(0)).device
        for name, part in copy.named_children():
            if isinstance(part, FramePower):
                setattr(copy, name, part.as_convolution().to(device))
        return copy


class FramePower(nn.Module):
    """Waveforms (B, T) -> squared magnitudes (B, L, K) of K linear functions of each frame.

    L = 1 + (T - length) // hop_length. A subclass defines the linear functions.
    """

    def __init__(self, length: int, hop_length: int) -> None:
        """Both in samples."""
        super().__init__()
        self.length = length
        self.hop_length = hop_length

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, L, K)."""
        values = self.transform(waveform.unfold(1, self.length, self.hop_length))
        return values.real.square() + values.imag.square() if values.is_complex() else values.square()

    def transform(self, frames: Tensor) -> Tensor:
        """Frames (..., length) -> real or complex values of the linear functions (..., K)."""
        raise NotImplementedError

    def as_convolution(self) -> "ConvolutionPower":
        """The same by convolution: its kernels are what the functions give for unit impulses."""
        impulses = torch.eye(self.length, dtype=torch.float64)
        device = next((buffer.device for buffer in self.buffers()), impulses.device)
        values = self.transform(impulses.to(device)).T  # (K, length)
        parts = (values.real, values.imag) if values.is_complex() else (values,)
        return ConvolutionPower(torch.stack(parts).float(), self.hop_length)


class Spectrum(FramePower):
    """Waveforms (B, T) -> power (B, L, n_fft // 2 + 1) of windowed frames, by FFT."""

    window: Tensor

    def __init__(
        self,
        window: Tensor,
        n_fft: int,
        hop_length: int,
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Window (length,), points of the DFT, samples between frames, linear step before the window."""
        super().__init__(len(window), hop_length)
        self.n_fft = n_fft
        self.prepare = prepare
        self.register_buffer("window", window, persistent=False)

    def transform(self, frames: Tensor) -> Tensor:
        """Frames (..., length) -> their spectra (..., n_fft // 2 + 1)."""
        if self.prepare is not None:
            frames = self.prepare(frames)
        return torch.fft.rfft(frames * self.window, self.n_fft)


class ConvolutionPower(nn.Module):
    """Waveforms (B, T) -> power (B, L, K), the sum of squares of a real and an imaginary part, if any."""

    kernels: Tensor

    def __init__(self, kernels: Tensor, hop_length: int) -> None:
        """Kernels (parts, K, length) and samples between frames."""
        super().__init__()
        self.num_parts = len(kernels)
        self.hop_length = hop_length
        self.register_buffer("kernels", kernels.flatten(0, 1)[:, None], persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, L, K)."""
        values = F.conv1d(waveform[:, None], self.kernels, stride=self.hop_length)  # (B, parts K, L)
        return values.square().unflatten(1, (self.num_parts, -1)).sum(dim=1).transpose(1, 2)
