"""Filterbank energies in dB as computed by python_speech_features and DeepSpeaker-pytorch."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
from features._steps import HOP_LENGTH, N_FFT, NORM_HELP, WINDOW_LENGTH, Norm, normalise

FLOOR = 1e-5  # least energy before the logarithm, DeepSpeaker-pytorch's
PRE_EMPHASIS = 0.97


class Features(nn.Module):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> 20 log10 of energies (B, F, L), L = 1 + ceil((T - 400) / 160).

    Rectangular windows; the last frame is padded with zeros.
    """

    bank: Tensor

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands F"] = 64,
        feature_norm: Annotated[Norm, NORM_HELP] = "mean",
    ) -> None:
        super().__init__()
        self.num_features = n_mels
        self.feature_norm = feature_norm
        self.register_buffer("bank", mel_bank(n_mels), persistent=False)
        if n_mels < 1 or (self.bank.sum(dim=1) == 0).any():
            raise ValueError(f"--n_mels {n_mels}: some bands contain no FFT bin; use fewer bands")

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms every 10 ms that cover all samples."""
        return 1 + math.ceil((num_samples - WINDOW_LENGTH) / HOP_LENGTH)

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        emphasised = torch.cat([waveform[:, :1], waveform[:, 1:] - PRE_EMPHASIS * waveform[:, :-1]], dim=1)
        covered = WINDOW_LENGTH + HOP_LENGTH * (self.num_frames(waveform.shape[1]) - 1)
        frames = F.pad(emphasised, (0, covered - waveform.shape[1])).unfold(1, WINDOW_LENGTH, HOP_LENGTH)
        power = torch.fft.rfft(frames, N_FFT).abs().square() / N_FFT  # (B, L, 257)
        energies = F.linear(power, self.bank).transpose(1, 2)
        return normalise(20.0 * energies.clamp(min=FLOOR).log10(), self.feature_norm)


def mel_bank(n_mels: int) -> Tensor:
    """Triangular filters (n_mels, 257), 0 to 8 kHz, with edges rounded to FFT bins."""
    highest = 2595.0 * math.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
    mel = torch.linspace(0.0, highest, n_mels + 2, dtype=torch.float64)
    edges = ((N_FFT + 1) * 700.0 * (10.0 ** (mel / 2595.0) - 1.0) / SAMPLE_RATE).floor()[:, None]
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = torch.where(bins < edges[1:-1], rising, falling)
    return torch.where((bins >= edges[:-2]) & (bins < edges[2:]), bank, 0.0).float()
