"""Log-mel energies of a normalised waveform, ReDimNet2's front end (its feat_type "tf").

The spectrum is that of SpectralFeaturesTF in the code of Yakovlev et al. 2024 (ReDimNet, arXiv:2407.18223).
"""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
from features._filterbank import mel_triangles, require_bins
from features._spectrum import FrontEnd, Spectrum
from features._steps import (
    HOP_HELP,
    HOP_LENGTH,
    N_FFT,
    NORM_HELP,
    WINDOW_LENGTH,
    Norm,
    check_bands,
    check_hop,
    normalise,
    pre_emphasise,
)

EPSILON = 1e-8  # least power and energy, whose inverse is the largest; added to deviation and energies too
PRE_EMPHASIS = 0.97


class Features(FrontEnd):
    """Waveforms (B, T) at 16 kHz -> log-mel energies (B, F, L), L = 1 + (T + 2 (hop // 2) - 400) // hop.

    The waveform is normalised to zero mean and unit deviation, so its level has no effect. It is padded with
    half a hop of zeros at both ends; with the usual hop of 160 samples L = 1 + (T - 240) // 160.
    """

    bank: Tensor

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands F"] = 72,
        f_min: Annotated[float, "lower edge of the lowest band, Hz"] = 20.0,
        f_max: Annotated[float, "upper edge of the highest band, Hz"] = 7600.0,
        hop_length: Annotated[int, HOP_HELP] = HOP_LENGTH,
        feature_norm: Annotated[Norm, NORM_HELP] = "mean",
    ) -> None:
        super().__init__()
        check_bands(n_mels, f_min, f_max)
        check_hop(hop_length)
        self.num_features = n_mels
        self.hop_length = hop_length
        self.feature_norm = feature_norm
        window = torch.hamming_window(WINDOW_LENGTH, periodic=False)
        self.spectrum = Spectrum(window, N_FFT, hop_length)
        self.register_buffer("bank", mel_bank(n_mels, f_min, f_max), persistent=False)

    def num_frames(self, num_samples: int) -> int:
        """T samples -> L frames of 25 ms, all inside the padded waveform."""
        return 1 + (num_samples + 2 * (self.hop_length // 2) - WINDOW_LENGTH) // self.hop_length

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        mean = waveform.mean(dim=1, keepdim=True)
        deviation = waveform.std(dim=1, correction=0, keepdim=True)
        emphasised = pre_emphasise((waveform - mean) / (deviation + EPSILON), PRE_EMPHASIS)
        padding = self.hop_length // 2
        power = self.spectrum(F.pad(emphasised, (padding, padding))).clamp(EPSILON, 1.0 / EPSILON)
        energies = F.linear(power, self.bank).clamp(EPSILON, 1.0 / EPSILON)  # (B, L, n_mels)
        return normalise((energies + EPSILON).log().transpose(1, 2), self.feature_norm)


def mel_bank(n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Triangular filters (n_mels, 257), linear in mel; the last bin is left out.

    The original takes the frequencies of the other 256 bins to reach 8 kHz, slightly above the true ones.
    """
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2, dtype=torch.float64)
    return F.pad(require_bins(mel_triangles(bins, n_mels, f_min, f_max)), (0, 1))
