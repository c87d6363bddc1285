"""Time-delay network with squeeze-and-excitation and shortcuts, as in the mmclassification-based verifier.

It extends the x-vector (Snyder et al. 2018) by squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507).
"""

from collections.abc import Callable

from torch import Tensor, nn

from models._residual import embedding_head

DEFAULTS = {"features": "fbank", "n_mels": 80, "encoder_type": "STATS", "nOut": 256}
CHANNELS = 512
POOLED_CHANNELS = 1500
REDUCTION = 8  # CHANNELS over the units of a gate
KERNELS = (5, 5, 7, 7, 1, 1)  # frames; of the residual blocks


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1."""

    unequal_from = 1

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            SELayer(num_features, CHANNELS, kernel_size=5),
            *(Residual(SELayer(CHANNELS, CHANNELS, kernel)) for kernel in KERNELS),
            *tdnn(CHANNELS, POOLED_CHANNELS, kernel_size=1),
        )
        self.pooling = pooling(POOLED_CHANNELS)
        self.head = embedding_head(self.pooling.out_channels, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.pooling(self.layers(features)))


def tdnn(in_channels: int, channels: int, kernel_size: int) -> list[nn.Module]:
    """Convolution over time with L frames in and out, ReLU, batch norm."""
    convolution = nn.Conv1d(in_channels, channels, kernel_size, padding=kernel_size // 2)
    return [convolution, nn.ReLU(inplace=True), nn.BatchNorm1d(channels)]


class SELayer(nn.Module):
    """Frames (B, C_in, L) -> (B, C, L): time-delay layer, then a gate in (0, 1) per channel."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.tdnn = nn.Sequential(*tdnn(in_channels, channels, kernel_size))
        self.mean = nn.AdaptiveAvgPool1d(1)
        self.gate = nn.Sequential(
            nn.Linear(channels, channels // REDUCTION),
            nn.ReLU(inplace=True),
            nn.Linear(channels // REDUCTION, channels),
            nn.Sigmoid(),
        )

    def forward(self, frames: Tensor) -> Tensor:
        frames = self.tdnn(frames)
        return frames * self.gate(self.mean(frames).flatten(1))[:, :, None]


class Residual(nn.Module):
    """Adds a layer's input to its output."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.layer(frames)
