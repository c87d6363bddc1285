"""Log-mel energies as computed by voxceleb_trainer (HTK mel scale, Davis and Mermelstein 1980)."""

import warnings
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

import runtime
from audio.recording import SAMPLE_RATE
from features._steps import (
    HOP_LENGTH,
    N_FFT,
    NORM_HELP,
    WINDOW_LENGTH,
    Norm,
    check_bands,
    normalise,
    pre_emphasise,
)
from features._torchaudio import MelSpectrogram

FLOOR = 1e-6  # added to the mel energies, so that the logarithm of digital silence is finite


class Features(nn.Module):
    """Waveforms (B, T) in [-1, 1] at 16 kHz -> log-mel energies (B, F, L), L = 1 + T // 160."""

    def __init__(
        self,
        *,
        n_mels: Annotated[int, "number of mel bands F"] = 40,
        log_input: Annotated[bool, "take the logarithm of the mel energies"] = True,
        window: Annotated[Literal["hamming", "hann"], "analysis window of 25 ms"] = "hamming",
        pre_emphasis: Annotated[float, "coefficient a of y[n] = x[n] - a x[n-1]; 0 disables it"] = 0.0,
        f_min: Annotated[float, "lower edge of the lowest band, Hz"] = 0.0,
        f_max: Annotated[float, "upper edge of the highest band, Hz"] = 8000.0,
        feature_norm: Annotated[Norm, NORM_HELP] = "instance",
    ) -> None:
        super().__init__()
        check_bands(n_mels, f_min, f_max)
        if not 0.0 <= pre_emphasis < 1.0:
            raise ValueError(f"--pre_emphasis must lie in [0, 1), got {pre_emphasis}")
        self.num_features = n_mels
        self.log_input = log_input
        self.pre_emphasis = pre_emphasis
        self.feature_norm = feature_norm
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchaudio warns of empty bands, which are an error below
            self.mel = MelSpectrogram(
                sample_rate=SAMPLE_RATE,
                n_fft=N_FFT,
                win_length=WINDOW_LENGTH,
                hop_length=HOP_LENGTH,
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

    @staticmethod
    def num_frames(num_samples: int) -> int:
        """T samples -> L frames of 25 ms, centred every 10 ms."""
        return 1 + num_samples // HOP_LENGTH

    @runtime.float32
    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, F, L)."""
        if self.pre_emphasis:
            waveform = pre_emphasise(waveform, self.pre_emphasis)
        features = self.mel(waveform) + FLOOR
        return normalise(features.log() if self.log_input else features, self.feature_norm)
