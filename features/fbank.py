"""Log filterbank energies as computed by Kaldi (Povey et al. 2011), with the frame energy as first band."""

import math
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
from features._filterbank import mel_triangles, require_bins
from features._spectrum import FramePower, FrontEnd, Spectrum
from features._steps import HOP_LENGTH, N_FFT, NORM_HELP, WINDOW_LENGTH, Norm, check_bands, normalise

ADDED = ("window", "waveform_scale")
INT16_SCALE = 32768.0  # Kaldi's waveforms are 16-bit integers
EPSILON = torch.finfo(torch.float32).eps  # least energy before the logarithm
PRE_EMPHASIS = 0.97


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> log energies (B, F, L), L = 1 + (T - 400) // 160.

    Band 0 is the frame energy (Kaldi's --use-energy), followed by the mel bands. No dither.
    """

    bank: Tensor

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands"] = 80,
        use_energy: Annotated[bool, "put the frame energy before the mel bands"] = True,
        f_min: Annotated[float, "lower edge of the lowest band, Hz"] = 20.0,
        f_max: Annotated[float, "upper edge of the highest band, Hz"] = 8000.0,
        window: Annotated[
            Literal["povey", "hamming"], "analysis window of 25 ms: Kaldi's own, or wespeaker's"
        ] = "povey",
        waveform_scale: Annotated[
            float, "factor on the waveform: 32768 as in Kaldi and wespeaker, 1 as in 3D-Speaker"
        ] = INT16_SCALE,
        feature_norm: Annotated[Norm, NORM_HELP] = "mean",
    ) -> None:
        super().__init__()
        check_bands(n_mels, f_min, f_max)
        if not 0.0 < waveform_scale < math.inf:
            raise ValueError(f"--waveform_scale must be positive and finite, got {waveform_scale}")
        self.num_features = n_mels + use_energy
        self.use_energy = use_energy
        self.waveform_scale = waveform_scale
        self.feature_norm = feature_norm
        self.register_buffer("bank", mel_bank(n_mels, f_min, f_max), persistent=False)
        weights = {
            "povey": torch.hann_window(WINDOW_LENGTH, periodic=False).pow(0.85),
            "hamming": torch.hamming_window(WINDOW_LENGTH, periodic=False),
        }
        self.spectrum = Spectrum(weights[window], N_FFT, HOP_LENGTH, prepare)
        self.centred = CentredPower(WINDOW_LENGTH, HOP_LENGTH)

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms every 10 ms, all inside the waveform."""
        return 1 + (num_samples - WINDOW_LENGTH) // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        scaled = waveform * self.waveform_scale
        features = F.linear(self.spectrum(scaled), self.bank)  # (B, L, n_mels)
        if self.use_energy:
            energy = self.centred(scaled).sum(dim=2, keepdim=True)  # (B, L, 1)
            features = torch.cat([energy, features], dim=2)
        return normalise(features.clamp(min=EPSILON).log().transpose(1, 2), self.feature_norm)


class CentredPower(FramePower):
    """Waveforms (B, T) -> squares of the samples of each frame (B, L, 400), less the frame's mean."""

    def transform(self, frames: Tensor) -> Tensor:
        """Frames (..., 400) -> frames of zero mean."""
        return centre(frames)


def centre(frames: Tensor) -> Tensor:
    """Frames (..., 400) -> frames of zero mean."""
    return frames - frames.mean(dim=-1, keepdim=True)


def prepare(frames: Tensor) -> Tensor:
    """Frames (..., 400) -> frames of zero mean with pre-emphasis, each as if its first sample came twice."""
    frames = centre(frames)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    return frames - PRE_EMPHASIS * before


def mel_bank(n_mels: int, f_min: float, f_max: float) -> Tensor:
    """Triangular filters (n_mels, 257), linear in mel; the last bin is left out."""
    bins = torch.arange(N_FFT // 2, dtype=torch.float64) * SAMPLE_RATE / N_FFT
    return F.pad(require_bins(mel_triangles(bins, n_mels, f_min, f_max)), (0, 1))
