"""Deep Speaker (Li et al. 2017, arXiv:1705.02304, tables 1 and 2): residual CNN, or GRUs on a convolution."""

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from models._resnet import init_convolutions

DEFAULTS = {"features": "psf", "n_mels": 64, "encoder_type": "TAP", "nOut": 512}
CHANNELS = (1, 64, 128, 256, 512)  # of the input and after each stage of the residual CNN
GRU_UNITS = 1024
GRU_LAYERS = 3
EMBEDDING_NORM = 10.0  # Ranjan et al. 2017, arXiv:1703.09507, as in DeepSpeaker-pytorch


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D) of norm 10; F and L at least 1."""

    unequal_from = 1

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        variant: Annotated[Literal["ResCNN", "GRU"], "which of the paper's two networks"] = "ResCNN",
    ) -> None:
        super().__init__()
        recurrent = variant == "GRU"
        channels = CHANNELS[:2] if recurrent else CHANNELS
        self.stages = nn.Sequential()
        bands = num_features
        for before, after in pairwise(channels):
            self.stages.append(Stage(before, after, residual=not recurrent))
            bands = (bands + 1) // 2
        width = channels[-1] * bands
        self.gru = nn.GRU(width, GRU_UNITS, GRU_LAYERS, batch_first=True) if recurrent else None
        self.pooling = pooling(GRU_UNITS if recurrent else width)
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)
        init_convolutions(self)

    def forward(self, features: Tensor) -> Tensor:
        maps = self.stages(features[:, None])  # (B, C, F', L')
        frames = maps.flatten(1, 2)  # (B, C * F', L')
        if self.gru is not None:
            frames = self.gru(frames.transpose(1, 2))[0].transpose(1, 2)  # (B, 1024, L')
        return EMBEDDING_NORM * F.normalize(self.fc(self.pooling(frames)))


def clipped_relu(maps: Tensor) -> Tensor:
    """min(max(x, 0), 20), eq. 1."""
    return maps.clamp(0.0, 20.0)


class Stage(nn.Module):
    """Maps (B, C_in, H, W) -> (B, C, H / 2, W / 2): 5x5 convolution, then a residual block."""

    def __init__(self, in_channels: int, channels: int, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 5, stride=2, padding=2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.block = ResidualBlock(channels) if residual else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return self.block(clipped_relu(self.bn(self.conv(maps))))


class ResidualBlock(nn.Module):
    """Maps (B, C, H, W) -> the same shape: two 3x3 convolutions and a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        residual = clipped_relu(self.bn1(self.conv1(maps)))
        return clipped_relu(maps + self.bn2(self.conv2(residual)))
