"""Filterbank energies in dB as computed by python_speech_features and DeepSpeaker-pytorch."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
from features._filterbank import mel_spaced, require_bins, triangles
from features._spectrum import FrontEnd, Spectrum
from features._steps import HOP_LENGTH, N_FFT, NORM_HELP, WINDOW_LENGTH, Norm, check_n_mels, normalise

FLOOR = 1e-5  # least energy before the logarithm, DeepSpeaker-pytorch's
PRE_EMPHASIS = 0.97


class Features(FrontEnd):
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
        check_n_mels(n_mels)
        self.num_features = n_mels
        self.feature_norm = feature_norm
        self.spectrum = Spectrum(torch.ones(WINDOW_LENGTH), N_FFT, HOP_LENGTH)
        self.register_buffer("bank", mel_bank(n_mels), persistent=False)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms every 10 ms that cover all samples."""
        return 1 + (num_samples - WINDOW_LENGTH + HOP_LENGTH - 1) // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        emphasised = torch.cat([waveform[:, :1], waveform[:, 1:] - PRE_EMPHASIS * waveform[:, :-1]], dim=1)
        covered = WINDOW_LENGTH + HOP_LENGTH * (self.num_frames(waveform.shape[1]) - 1)
        power = self.spectrum(F.pad(emphasised, (0, covered - waveform.shape[1]))) / N_FFT  # (B, L, 257)
        energies = F.linear(power, self.bank).transpose(1, 2)
        return normalise(20.0 * energies.clamp(min=FLOOR).log10(), self.feature_norm)


def mel_bank(n_mels: int) -> Tensor:
    """Triangular filters (n_mels, 257), 0 to 8 kHz, with edges rounded to FFT bins."""
    edges = ((N_FFT + 1) * mel_spaced(0.0, SAMPLE_RATE / 2, n_mels + 2) / SAMPLE_RATE).floor()
    bins = torch.arange(N_FFT // 2 + 1, dtype=torch.float64)
    return require_bins(triangles(bins, edges[:-2], edges[1:-1], edges[2:]))
