"""ECAPA-TDNN (Desplanques et al. 2020, arXiv:2005.07143), as implemented in TaoRuijie's ECAPA-TDNN."""

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._res2net import Res2Block

DEFAULTS = {
    "features": "logmel",
    "n_mels": 80,
    "pre_emphasis": 0.97,
    "f_min": 20.0,
    "f_max": 7600.0,
    "feature_norm": "mean",
    "mask_bands": 7,
    "mask_frames": 9,
    "encoder_type": "ECA",
    "nOut": 192,
}
AGGREGATED_CHANNELS = 1536  # computed from the outputs of all three blocks
BOTTLENECK_CHANNELS = 128  # of the squeeze-and-excitation


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1."""

    unequal_from = 1

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        channels: Annotated[int, "width C of the blocks; 512 and 1024 in the paper"] = 1024,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(num_features, channels, kernel_size=5, padding=2)
        self.bn1 = nn.BatchNorm1d(channels)
        self.layer1 = SERes2Block(channels, dilation=2)
        self.layer2 = SERes2Block(channels, dilation=3)
        self.layer3 = SERes2Block(channels, dilation=4)
        self.layer4 = nn.Conv1d(3 * channels, AGGREGATED_CHANNELS, kernel_size=1)
        self.pooling = pooling(AGGREGATED_CHANNELS, "ecapa")
        self.bn5 = nn.BatchNorm1d(self.pooling.out_channels)
        self.fc6 = nn.Linear(self.pooling.out_channels, embedding_dim)
        self.bn6 = nn.BatchNorm1d(embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        frames = self.bn1(F.relu(self.conv1(features)))  # (B, C, L)
        first = self.layer1(frames)
        second = self.layer2(frames + first)
        third = self.layer3(frames + first + second)
        frames = F.relu(self.layer4(torch.cat([first, second, third], dim=1)))  # (B, 1536, L)
        return self.bn6(self.fc6(self.bn5(self.pooling(frames))))


class SERes2Block(Res2Block):
    """Frames (B, C, L) -> (B, C, L): Res2Net block, squeeze-and-excitation, shortcut."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__(channels, channels, kernel_size=3, dilation=dilation)
        self.se = SqueezeExcitation(channels)

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.se(super().forward(frames))


class SqueezeExcitation(nn.Module):
    """Frames (B, C, L) -> (B, C, L), each channel scaled by a gate (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(channels, BOTTLENECK_CHANNELS, kernel_size=1),
            nn.ReLU(),
            nn.Conv1d(BOTTLENECK_CHANNELS, channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, frames: Tensor) -> Tensor:
        return frames * self.se(frames)
