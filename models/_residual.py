"""Residual networks that flatten channels and bands, then pool over time.

The defaults are those of the ResNet-34 of the mmclassification-based verifier.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._resnet import BLOCKS, SqueezeExcitation, init_convolutions, shortcut, stages

CHANNELS = 32  # of the first stage
STRIDES = (1, 2, 2, 2)  # of the four stages
MOMENTUM = 0.5  # of the batch norms' running statistics


class BasicBlock(nn.Module):
    """Maps (B, C_in, H, W) -> (B, C_out, H / stride, W / stride): two 3x3 convolutions."""

    reduction: int | None = None  # of the squeeze-and-excitation after the second norm, if any

    def __init__(self, in_channels: int, channels: int, stride: int | tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels, self.reduction) if self.reduction else nn.Identity()
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(maps)))
        residual = self.se(self.bn2(self.conv2(residual)))
        return F.relu(residual + self.downsample(maps))


def embedding_head(in_features: int, embedding_dim: int) -> nn.Sequential:
    """Pooled (B, C) -> embeddings (B, D): linear, ReLU, batch norm."""
    return nn.Sequential(
        nn.Linear(in_features, embedding_dim), nn.ReLU(inplace=True), nn.BatchNorm1d(embedding_dim)
    )


class FlatResNet(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    unequal_from = 1

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        block: Callable[[int, int, int], nn.Module],
        pooled: Literal["last", "all"] = "last",
        *,
        channels: int = CHANNELS,
        counts: Sequence[int] = BLOCKS,
        expansion: int = 1,
        head: Callable[[int, int], nn.Module] = embedding_head,
        momentum: float = MOMENTUM,
    ) -> None:
        """Network of four stages.

        Args:
            num_features: F.
            embedding_dim: D.
            pooling: called with the pooled channels and the form of attention.
            block: called with the channels before and after the block, and its stride.
            pooled: the stages whose maps are pooled.
            channels: C, of the maps before the first stage.
            counts: blocks in each stage.
            expansion: the first stage has C times as many.
            head: called with the size of what the poolings give, and D; by default linear, ReLU, batch norm.
            momentum: of the batch norms' running statistics.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.stages = nn.ModuleList(stages(channels, STRIDES, block, counts, expansion))
        self.first_pooled = 0 if pooled == "all" else len(STRIDES) - 1
        self.poolings = nn.ModuleList()
        pooled_channels = 0
        bands = num_features
        for number, stride in enumerate(STRIDES):
            bands = (bands + stride - 1) // stride
            if number >= self.first_pooled:
                layer = pooling(expansion * channels * 2**number * bands, "channelwise")
                self.poolings.append(layer)
                pooled_channels += layer.out_channels
        self.head = head(pooled_channels, embedding_dim)
        init_convolutions(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.momentum = momentum

    def forward(self, features: Tensor) -> Tensor:
        maps = F.relu(self.bn1(self.conv1(features[:, None])))  # (B, C, F, L)
        pooled: list[Tensor] = []
        for number, stage in enumerate(self.stages):
            maps = stage(maps)  # (B, C, F', L')
            if number >= self.first_pooled:
                pooled.append(self.poolings[number - self.first_pooled](maps.flatten(1, 2)))
        return self.head(torch.cat(pooled, dim=1))
