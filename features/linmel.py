"""Mel energies without logarithm as computed by librosa and used by Resemblyzer (Slaney's mel scale)."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from features._filterbank import slaney_bank
from features._spectrum import FrontEnd, Spectrum
from features._steps import HOP_LENGTH, WINDOW_LENGTH, check_n_mels

HALF = WINDOW_LENGTH // 2


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> mel energies (B, F, L), L = 3 + T // 160.

    Frame i is centred on sample 160 i, with zeros beyond the ends of the waveform. A centred STFT ends with
    frame T // 160. The windows of two further frames still reach the waveform, so they are computed too: all
    later frames are zero, so that a network which pads a recording with zeros can pad its features.
    """

    bank: Tensor

    def __init__(self, *, n_mels: Annotated[int, "number of mel bands F"] = 40) -> None:
        super().__init__()
        check_n_mels(n_mels)
        self.num_features = n_mels
        self.spectrum = Spectrum(torch.hann_window(WINDOW_LENGTH), WINDOW_LENGTH, HOP_LENGTH)
        self.register_buffer("bank", slaney_bank(n_mels, WINDOW_LENGTH), persistent=False)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms, centred every 10 ms, that reach the waveform."""
        return 3 + num_samples // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        power = self.spectrum(F.pad(waveform, (HALF, HALF + 2 * HOP_LENGTH)))  # (B, L, 201)
        return F.linear(power, self.bank).transpose(1, 2)
