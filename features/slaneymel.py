"""Log-mel energies on Slaney's scale, each band with zero mean and unit deviation, as in NVIDIA's NeMo."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from features._filterbank import slaney_bank
from features._spectrum import FrontEnd, Spectrum
from features._steps import HOP_LENGTH, N_FFT, WINDOW_LENGTH, check_n_mels

PRE_EMPHASIS = 0.97
FLOOR = 2.0**-24  # added to energies
EPSILON = 1e-5  # added to deviations


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> log-mel energies (B, F, L), L = T // 160.

    Frame i is centred on sample 160 i, with zeros beyond the ends of the waveform.
    """

    bank: Tensor

    def __init__(self, *, n_mels: Annotated[int, "number of mel bands F"] = 80) -> None:
        super().__init__()
        check_n_mels(n_mels)
        self.num_features = n_mels
        self.spectrum = Spectrum(torch.hann_window(WINDOW_LENGTH, periodic=False), N_FFT, HOP_LENGTH)
        self.register_buffer("bank", slaney_bank(n_mels, N_FFT), persistent=False)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms, centred every 10 ms; NeMo doesn't count the last one."""
        return num_samples // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        delayed = F.pad(waveform, (1, 0))[:, :-1]
        half = WINDOW_LENGTH // 2
        power = self.spectrum(F.pad(waveform - PRE_EMPHASIS * delayed, (half, half)))[:, :-1]  # (B, L, 257)
        energies = (F.linear(power, self.bank) + FLOOR).log().transpose(1, 2)
        deviation = energies.std(dim=2, keepdim=True) + EPSILON
        return (energies - energies.mean(dim=2, keepdim=True)) / deviation
