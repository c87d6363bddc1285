"""Mel energies in dB as computed by SpeechBrain (Ravanelli et al. 2021, arXiv:2106.04624)."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
from features._filterbank import mel_spaced, require_bins, triangles
from features._spectrum import FrontEnd, Spectrum
from features._steps import HOP_LENGTH, NORM_HELP, WINDOW_LENGTH, Norm, check_n_mels, normalise

FLOOR = 1e-10  # least energy before the logarithm
RANGE_DB = 80.0  # below the largest energy of an utterance
HALF = WINDOW_LENGTH // 2


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> energies in dB (B, F, L), L = 1 + T // 160.

    Frame i is centred on sample 160 i, with zeros beyond the ends of the waveform. Energies more than 80 dB
    below the utterance's largest one are raised to that level.
    """

    bank: Tensor

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands F"] = 80,
        feature_norm: Annotated[Norm, NORM_HELP] = "mean",
    ) -> None:
        super().__init__()
        check_n_mels(n_mels)
        self.num_features = n_mels
        self.feature_norm = feature_norm
        self.spectrum = Spectrum(torch.hamming_window(WINDOW_LENGTH), WINDOW_LENGTH, HOP_LENGTH)
        self.register_buffer("bank", mel_bank(n_mels), persistent=False)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms, centred every 10 ms."""
        return 1 + num_samples // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        energies = F.linear(self.spectrum(F.pad(waveform, (HALF, HALF))), self.bank)  # (B, L, n_mels)
        decibels = 10.0 * energies.clamp(min=FLOOR).log10()
        lowest = decibels.amax(dim=(1, 2), keepdim=True) - RANGE_DB
        return normalise(torch.maximum(decibels, lowest).transpose(1, 2), self.feature_norm)


def mel_bank(n_mels: int) -> Tensor:
    """Triangular filters (n_mels, 201), 0 to 8 kHz, both slopes as wide as the band below is."""
    edges = mel_spaced(0.0, SAMPLE_RATE / 2, n_mels + 2)[:-1]
    lower, centre = edges[:-1], edges[1:]
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, HALF + 1, dtype=torch.float64)
    return require_bins(triangles(bins, lower, centre, 2.0 * centre - lower))
