"""Networks in the form that is exported: from waveforms, or from the features of another program."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from features._steps import normalise
from SpeakerNet import SpeakerNet

EXAMPLE_SAMPLES = 24_000  # of the waveforms that a network is traced with
EXAMPLE_FRAMES = 148


class WaveformNetwork(nn.Module):
    """Waveforms (B, T) at 16 kHz in [-1, 1] -> embeddings (B, D), of unit length where the loss normalises.

    The front end is in the form without FFT: convolutions are faster in ONNX Runtime, and exact.
    """

    mean: Tensor | None

    def __init__(self, network: SpeakerNet, mean: Tensor | None = None) -> None:
        """A network, and the mean embedding (D,) that is subtracted, if any."""
        super().__init__()
        front_end: Any = network.features
        self.features = front_end.as_convolution()
        self.model = network.model
        self.input_scale = network.input_scale
        self.normalize = network.normalize
        self.register_buffer("mean", mean)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) -> (B, D)."""
        return finished(self.model(self.features(waveform * self.input_scale)), self.mean, self.normalize)

    def example(self) -> Tensor:
        """Waveforms (2, T) to trace it with."""
        return torch.linspace(-0.1, 0.1, 2 * EXAMPLE_SAMPLES).view(2, -1)


class FeatureNetwork(nn.Module):
    """Log filterbank energies (B, L, F) without normalisation -> embeddings (B, D).

    The graph subtracts means over time itself: where the other program does so too, nothing changes.
    """

    mean: Tensor | None

    def __init__(self, network: SpeakerNet, mean: Tensor | None = None) -> None:
        """A network whose front end is Kaldi's, and the mean embedding (D,) that is subtracted, if any."""
        super().__init__()
        front_end: Any = network.features
        self.model = network.model
        self.feature_norm = front_end.feature_norm
        self.num_features: int = front_end.num_features
        self.normalize = network.normalize
        self.register_buffer("mean", mean)

    def forward(self, features: Tensor) -> Tensor:
        """(B, L, F) -> (B, D)."""
        embedding = self.model(normalise(features.transpose(1, 2), self.feature_norm))
        return finished(embedding, self.mean, self.normalize)

    def example(self) -> Tensor:
        """Features (2, L, F) to trace it with."""
        return torch.linspace(-5.0, 5.0, 2 * EXAMPLE_FRAMES * self.num_features).view(2, EXAMPLE_FRAMES, -1)


def finished(embedding: Tensor, mean: Tensor | None, normalize: bool) -> Tensor:
    """Embeddings (B, D), mean (D,) to be subtracted or None -> the same, of unit length if asked for."""
    if mean is not None:
        embedding = embedding - mean
    return F.normalize(embedding, dim=1) if normalize else embedding
