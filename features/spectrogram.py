"""Magnitude spectrogram as computed by voxceleb_trainer for ResNetSE34 (2020)."""

from typing import Annotated

import torch
from torch import Tensor

import runtime
from features._spectrum import FrontEnd, Spectrum
from features._steps import HOP_LENGTH, N_FFT, NORM_HELP, WINDOW_LENGTH, Norm, normalise

FLOOR = 1e-6  # added to the magnitudes, so that the logarithm of digital silence is finite
MARGIN = (N_FFT - WINDOW_LENGTH) // 2  # samples of a frame on either side of its window


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> magnitudes (B, 257, L), L = 1 + (T - 512) // 160."""

    num_features = N_FFT // 2 + 1

    def __init__(
        self,
        *,
        log_input: Annotated[bool, "take the logarithm of the magnitudes"] = False,
        feature_norm: Annotated[Norm, NORM_HELP] = "instance",
    ) -> None:
        super().__init__()
        self.log_input = log_input
        self.feature_norm = feature_norm
        self.spectrum = Spectrum(torch.hann_window(WINDOW_LENGTH), N_FFT, HOP_LENGTH)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 32 ms every 10 ms, all inside the waveform."""
        return 1 + (num_samples - N_FFT) // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, 257, L)."""
        features = self.spectrum(waveform[:, MARGIN:-MARGIN]).sqrt().transpose(1, 2)
        return normalise((features + FLOOR).log() if self.log_input else features, self.feature_norm)
