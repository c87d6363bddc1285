"""Log-mel energies as computed by voxceleb_trainer (HTK mel scale, Davis and Mermelstein 1980)."""

import warnings
from typing import Annotated, Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from audio.recording import SAMPLE_RATE
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
    standardise,
)
from features._torchaudio import MelSpectrogram

ADDED = ("hop_length", "normalise_waveform")
FLOOR = 1e-6  # added to mel energies and deviations, so that features of digital silence are finite


class Features(FrontEnd):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> log-mel energies (B, F, L), L = 1 + T // hop_length."""

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands F"] = 40,
        log_input: Annotated[bool, "take the logarithm of the mel energies"] = True,
        window: Annotated[Literal["hamming", "hann"], "analysis window of 25 ms"] = "hamming",
        pre_emphasis: Annotated[float, "coefficient a of y[n] = x[n] - a x[n-1]; 0 disables it"] = 0.0,
        f_min: Annotated[float, "lower edge of the lowest band, Hz"] = 0.0,
        f_max: Annotated[float, "upper edge of the highest band, Hz"] = 8000.0,
        hop_length: Annotated[int, HOP_HELP] = HOP_LENGTH,
        normalise_waveform: Annotated[bool, "scale the waveform to zero mean and unit deviation"] = False,
        feature_norm: Annotated[Norm, NORM_HELP] = "instance",
    ) -> None:
        super().__init__()
        check_bands(n_mels, f_min, f_max)
        check_hop(hop_length)
        if not 0.0 <= pre_emphasis < 1.0:
            raise ValueError(f"--pre_emphasis must lie in [0, 1), got {pre_emphasis}")
        self.num_features = n_mels
        self.hop_length = hop_length
        self.normalise_waveform = normalise_waveform
        self.log_input = log_input
        self.pre_emphasis = pre_emphasis
        self.feature_norm = feature_norm
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchaudio warns of empty bands, which are an error below
            self.mel: Any = MelSpectrogram(
                sample_rate=SAMPLE_RATE,
                n_fft=N_FFT,
                win_length=WINDOW_LENGTH,
                hop_length=hop_length,
                f_min=f_min,
                f_max=f_max,
                n_mels=n_mels,
                window_fn={"hamming": torch.hamming_window, "hann": torch.hann_window}[window],
            )
        if (self.mel.mel_scale.fb.sum(dim=0) == 0).any():
            raise ValueError(
                f"--n_mels {n_mels}: some bands between {f_min:g} and {f_max:g} Hz are narrower than the "
                f"FFT's {SAMPLE_RATE / N_FFT:g} Hz and contain no bin; use fewer bands"
            )

    def num_frames(self, num_samples: int) -> int:
        """T samples -> L frames of 25 ms, centred every hop_length samples."""
        return 1 + num_samples // self.hop_length

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        if self.normalise_waveform:
            waveform = standardise(waveform, FLOOR)
        if self.pre_emphasis:
            waveform = pre_emphasise(waveform, self.pre_emphasis)
        features = self.mel(waveform) + FLOOR
        return normalise(features.log() if self.log_input else features, self.feature_norm)

    def as_convolution(self) -> Self:
        """A copy without FFT, with the window and the filterbank that this one has now."""
        form = super().as_convolution()
        form.mel = ConvolutionMel(self.mel.spectrogram.window, self.mel.mel_scale.fb, self.hop_length)
        return form


class ConvolutionMel(nn.Module):
    """MelSpectrogram by convolution: waveforms (B, T) -> mel energies (B, F, L)."""

    bank: Tensor

    def __init__(self, window: Tensor, bank: Tensor, hop_length: int) -> None:
        """Window (400,), filters (257, F), samples between frames."""
        super().__init__()
        self.spectrum = Spectrum(window, N_FFT, hop_length).as_convolution()
        self.register_buffer("bank", bank, persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        half = WINDOW_LENGTH // 2
        padded = F.pad(waveform[:, None], (half, half), mode="reflect")[:, 0]
        return (self.spectrum(padded) @ self.bank).transpose(1, 2)
