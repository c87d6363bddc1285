"""RawNet3 (Jung et al. 2022, arXiv:2203.08488): Res2Net blocks on sinc filters."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._res2net import Res2Block

DEFAULTS = {"features": "sinc", "sinc_stride": 10, "encoder_type": "ECA", "nOut": 256}
AGGREGATED_CHANNELS = 1536  # computed from the outputs of all three blocks


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 15 frames, 25 ms with sinc."""

    unequal_from = 15

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        channels: Annotated[int, "width C of the blocks"] = 1024,
    ) -> None:
        super().__init__()
        self.layer1 = AFMSRes2Block(num_features, channels, dilation=2, pool=5)
        self.reduce = nn.MaxPool1d(3)
        self.layer2 = AFMSRes2Block(channels, channels, dilation=3, pool=3)
        self.layer3 = AFMSRes2Block(channels, channels, dilation=4)
        self.layer4 = nn.Conv1d(3 * channels, AGGREGATED_CHANNELS, kernel_size=1)
        self.pooling = pooling(AGGREGATED_CHANNELS, "rawnet3")
        self.bn5 = nn.BatchNorm1d(self.pooling.out_channels)
        self.fc6 = nn.Linear(self.pooling.out_channels, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        first = self.layer1(features)  # (B, C, L / 5)
        second = self.layer2(first)  # (B, C, L / 15)
        first = self.reduce(first)
        third = self.layer3(first + second)
        frames = F.relu(self.layer4(torch.cat([first, second, third], dim=1)))  # (B, 1536, L / 15)
        return self.fc6(self.bn5(self.pooling(frames)))


class AFMSRes2Block(Res2Block):
    """Frames (B, C_in, L) -> (B, C, L / pool): Res2Net block, shortcut, max-pooling, feature map scaling."""

    def __init__(self, in_channels: int, channels: int, dilation: int, pool: int = 1) -> None:
        super().__init__(in_channels, channels, kernel_size=3, dilation=dilation)
        self.residual = nn.Sequential()
        if in_channels != channels:
            self.residual = nn.Sequential(nn.Conv1d(in_channels, channels, kernel_size=1, bias=False))
        self.pool = nn.MaxPool1d(pool) if pool > 1 else nn.Identity()
        self.afms = FeatureMapScaling(channels)

    def forward(self, frames: Tensor) -> Tensor:
        maps = super().forward(frames) + self.residual(frames)
        return self.afms(self.pool(maps))


class FeatureMapScaling(nn.Module):
    """Frames (B, C, L) -> (B, C, L): a learned offset is added, then a gate scales (arXiv:2004.00526)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool1d(1)
        self.alpha = nn.Parameter(torch.ones(channels, 1))
        self.fc = nn.Linear(channels, channels)

    def forward(self, frames: Tensor) -> Tensor:
        gates = torch.sigmoid(self.fc(self.mean(frames).flatten(1)))  # (B, C)
        return (frames + self.alpha) * gates[:, :, None]
