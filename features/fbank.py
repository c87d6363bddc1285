"""Log filterbank energies as computed by Kaldi (Povey et al. 2011), with the frame energy as first band."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
from features._steps import HOP_LENGTH, N_FFT, NORM_HELP, WINDOW_LENGTH, Norm, check_bands, normalise

INT16_SCALE = 32768.0  # Kaldi's waveforms are 16-bit integers
EPSILON = torch.finfo(torch.float32).eps  # least energy before the logarithm
PRE_EMPHASIS = 0.97


class Features(nn.Module):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> log energies (B, F, L), L = 1 + (T - 400) // 160.

    Band 0 is the frame energy (Kaldi's --use-energy), followed by the mel bands. No dither.
    """

    bank: Tensor
    window: Tensor

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands"] = 80,
        use_energy: Annotated[bool, "put the frame energy before the mel bands"] = True,
        f_min: Annotated[float, "lower edge of the lowest band, Hz"] = 20.0,
        f_max: Annotated[float, "upper edge of the highest band, Hz"] = 8000.0,
        feature_norm: Annotated[Norm, NORM_HELP] = "mean",
    ) -> None:
        super().__init__()
        check_bands(n_mels, f_min, f_max)
        self.num_features = n_mels + use_energy
        self.use_energy = use_energy
        self.feature_norm = feature_norm
        self.register_buffer("bank", mel_bank(n_mels, f_min, f_max), persistent=False)
        if (self.bank.sum(dim=1) == 0).any():
            raise ValueError(f"--n_mels {n_mels}: some bands contain no FFT bin; use fewer bands")
        self.register_buffer("window", torch.hann_window(WINDOW_LENGTH, False).pow(0.85), persistent=False)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms every 10 ms, all inside the waveform."""
        return 1 + (num_samples - WINDOW_LENGTH) // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        frames = (waveform * INT16_SCALE).unfold(1, WINDOW_LENGTH, HOP_LENGTH)  # (B, L, 400)
        frames = frames - frames.mean(dim=2, keepdim=True)
        energy = frames.square().sum(dim=2, keepdim=True)  # (B, L, 1)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * before) * self.window, N_FFT)
        power = spectrum.real.square() + spectrum.imag.square()  # (B, L, 257)
        features = F.linear(power, self.bank)  # (B, L, n_mels)
        if self.use_energy:
            features = torch.cat([energy, features], dim=2)
        return normalise(features.clamp(min=EPSILON).log().transpose(1, 2), self.feature_norm)


def mel_bank(n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Triangular filters (n_mels, 257), linear in mel = 1127 ln(1 + f / 700); the last bin is left out."""
    lowest, highest = (1127.0 * math.log1p(f / 700.0) for f in (f_min, f_max))
    edges = torch.linspace(lowest, highest, n_mels + 2, dtype=torch.float64)[:, None]
    bins = torch.arange(N_FFT // 2, dtype=torch.float64) * SAMPLE_RATE / N_FFT
    mel = 1127.0 * torch.log1p(bins / 700.0)
    rising = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    return F.pad(torch.minimum(rising, falling).clamp(min=0.0), (0, 1)).float()
