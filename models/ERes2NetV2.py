"""ERes2NetV2: a Res2Net whose groups and last two stages are fused by attention.

Chen et al. 2024 (arXiv:2406.02167), with the names and values of 3D-Speaker.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from models._resnet import BLOCKS, shortcut

DEFAULTS = {
    "features": "fbank",
    "n_mels": 80,
    "use_energy": False,
    "window": "povey",
    "waveform_scale": 1.0,
    "encoder_type": "TSTP",
    "nOut": 192,
}
CHANNELS = 64  # of the stem; stages have 1, 2, 4, 8 times as many within their blocks
STRIDES = (1, 2, 2, 2)  # of the four stages
FUSED_FROM = 2  # stage whose blocks, and those of the next, fuse their groups by attention
REDUCTION = 4  # channels over units of an attention
HIGHEST = 20.0  # of activations within blocks


class AttentiveFusion(nn.Module):
    """Two maps (B, C, H, W) -> x (1 + a) + y (1 - a) with a in (-1, 1) by two 1x1 convolutions.

    Section 2.2 of the paper; Dai et al. 2021 (arXiv:2009.14082).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        units = channels // REDUCTION
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, units, 1),
            nn.BatchNorm2d(units),
            nn.SiLU(),
            nn.Conv2d(units, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, maps: Tensor, others: Tensor) -> Tensor:
        attention = self.local_att(torch.cat([maps, others], dim=1)).tanh()
        return maps * (1.0 + attention) + others * (1.0 - attention)


class Cascade(NamedTuple):
    """The middle of a block: channels of a group, groups, whether attention fuses them instead of sums."""

    width: int
    groups: int
    fused: bool


class Block(nn.Module):
    """Maps (B, C_in, H, W) -> (B, C_out, H / stride, W / stride): a cascade over groups of channels.

    Each group passes a 3x3 convolution, whose output is added to the next group, or fused with it.
    """

    def __init__(self, in_channels: int, cascade: Cascade, channels: int, stride: int) -> None:
        super().__init__()
        width, groups, fused = cascade
        self.conv1 = nn.Conv2d(in_channels, groups * width, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(groups * width)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(groups))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(groups))
        fusions = groups - 1 if fused else 0
        self.fuse_models = nn.ModuleList(AttentiveFusion(width) for _ in range(fusions))
        self.conv3 = nn.Conv2d(groups * width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        groups = bounded(self.bn1(self.conv1(maps))).chunk(len(self.convs), dim=1)
        outputs = list[Tensor]()
        for number, (convolution, norm) in enumerate(zip(self.convs, self.bns, strict=True)):
            group = groups[number]
            if outputs:
                earlier = outputs[-1]
                group = self.fuse_models[number - 1](earlier, group) if self.fuse_models else earlier + group
            outputs.append(bounded(norm(convolution(group))))
        return bounded(self.bn3(self.conv3(torch.cat(outputs, dim=1))) + self.downsample(maps))


def bounded(maps: Tensor) -> Tensor:
    """ReLU with an upper limit."""
    return maps.clamp(0.0, HIGHEST)


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    unequal_from = 1

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        base_width: Annotated[int, "channels of a group for 64 of a stage"] = 26,
        groups: Annotated[int, "groups of channels in a block"] = 2,
        expansion: Annotated[int, "channels after a block over those of its stage"] = 2,
    ) -> None:
        super().__init__()
        for name, value in (("base_width", base_width), ("groups", groups), ("expansion", expansion)):
            if value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        self.conv1 = nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(CHANNELS)
        stages = list[nn.Sequential]()
        channels = CHANNELS
        for number, (count, stride) in enumerate(zip(BLOCKS, STRIDES, strict=True)):
            planes = CHANNELS * 2**number
            cascade = Cascade(planes * base_width // CHANNELS, groups, number >= FUSED_FROM)
            strides = (stride, *[1] * (count - 1))
            stages.append(stage(channels, cascade, expansion * planes, strides))
            channels = expansion * planes
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.layer3_ds = nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1, bias=False)
        self.fuse34 = AttentiveFusion(channels)
        bands = (num_features + 7) // 8
        self.pooling = pooling(channels * bands, "channelwise")
        self.seg_1 = nn.Linear(self.pooling.out_channels, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        maps = self.bn1(self.conv1(features[:, None])).relu()  # (B, 64, F, L)
        third = self.layer3(self.layer2(self.layer1(maps)))  # (B, C / 2, F / 4, L / 4)
        fused = self.fuse34(self.layer4(third), self.layer3_ds(third))  # (B, C, F / 8, L / 8)
        return self.seg_1(self.pooling(fused.flatten(1, 2)))


def stage(in_channels: int, cascade: Cascade, channels: int, strides: Sequence[int]) -> nn.Sequential:
    """Blocks with these strides, one after another."""
    blocks = list[nn.Module]()
    for stride in strides:
        blocks.append(Block(in_channels, cascade, channels, stride))
        in_channels = channels
    return nn.Sequential(*blocks)
