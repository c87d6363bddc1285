"""ECAPA-TDNN (Desplanques et al. 2020, arXiv:2005.07143), as implemented in three published systems."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._res2net import PointwiseConv1d, Res2Block, SameConv1d

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
ADDED = ("variant",)
BOTTLENECK_CHANNELS = 128  # of the squeeze-and-excitation
DILATIONS = (2, 3, 4)  # of the three blocks


class Variant(NamedTuple):
    """What the implementations do differently."""

    attention: str  # form of the pooling's attention
    sum_inputs: bool = False  # whether a block gets the sum of all outputs before it, not the last alone
    reflect: bool = False  # whether utterances are padded by reflection instead of zeros
    pass_first: bool = False  # whether a block's first group of channels has no convolution, not its last
    widen: bool = False  # whether aggregation has 3 * C channels and a batch norm, not 1536 and none
    final_norm: bool = False  # whether a batch norm follows the embedding layer


VARIANTS = {
    "taoruijie": Variant("ecapa", sum_inputs=True, final_norm=True),
    "wespeaker": Variant("wespeaker"),
    "speechbrain": Variant("speechbrain", reflect=True, pass_first=True, widen=True),
}


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1, with reflection at least 5."""

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        channels: Annotated[int, "width C of the blocks; 512 and 1024 in the paper"] = 1024,
        variant: Annotated[
            Literal["taoruijie", "wespeaker", "speechbrain"],
            "whose implementation; speechbrain is 3D-Speaker's, too",
        ] = "taoruijie",
    ) -> None:
        super().__init__()
        settings = VARIANTS[variant]
        self.sum_inputs = settings.sum_inputs
        self.unequal_from = max(DILATIONS) + 1 if settings.reflect else 1
        self.conv1 = SameConv1d(num_features, channels, kernel_size=5, reflect=settings.reflect)
        self.bn1 = nn.BatchNorm1d(channels)
        self.layer1, self.layer2, self.layer3 = (SERes2Block(channels, d, settings) for d in DILATIONS)
        aggregated = 3 * channels if settings.widen else 1536
        self.layer4 = PointwiseConv1d(3 * channels, aggregated)
        self.bn4 = nn.BatchNorm1d(aggregated) if settings.widen else nn.Identity()
        self.pooling = pooling(aggregated, settings.attention)
        self.bn5 = nn.BatchNorm1d(self.pooling.out_channels)
        self.fc6 = nn.Linear(self.pooling.out_channels, embedding_dim)
        self.bn6 = nn.BatchNorm1d(embedding_dim) if settings.final_norm else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        frames = self.bn1(F.relu(self.conv1(features)))  # (B, C, L)
        outputs: list[Tensor] = []  # torch.compile doesn't trace list[Tensor]()
        for block in (self.layer1, self.layer2, self.layer3):
            output = block(frames)
            frames = frames + output if self.sum_inputs else output
            outputs.append(output)
        frames = self.bn4(F.relu(self.layer4(torch.cat(outputs, dim=1))))  # (B, 1536 or 3 * C, L)
        return self.bn6(self.fc6(self.bn5(self.pooling(frames))))


class SERes2Block(Res2Block):
    """Frames (B, C, L) -> (B, C, L): Res2Net block, squeeze-and-excitation, shortcut."""

    def __init__(self, channels: int, dilation: int, variant: Variant) -> None:
        super().__init__(
            channels,
            channels,
            kernel_size=3,
            dilation=dilation,
            reflect=variant.reflect,
            pass_first=variant.pass_first,
        )
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
