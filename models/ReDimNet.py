"""ReDimNet (Yakovlev et al. 2024, arXiv:2407.18223) and ReDimNet2 (2026, arXiv:2603.11841).

The features pass through stages of 2-D blocks, whose maps trade bands for channels, and 1-D blocks. All have
the same number of values per frame, so that each stage sees a weighted sum of all earlier outputs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from torch import Tensor, nn

from models._redimnet import (
    NORM_EPS,
    ChannelNorm,
    FrameGroupNorm,
    TimeContext,
    ToFrames,
    ToMaps,
    WeightedSum,
    count_groups,
    make_map_block,
)
from models._redimnet_architecture import NAMED, Architecture, Stage, parse_architecture

DEFAULTS = {
    "features": "logmel",
    "n_mels": 72,
    "pre_emphasis": 0.97,
    "f_min": 20.0,
    "f_max": 7600.0,
    "feature_norm": "mean",
    "encoder_type": "ECA",
    "nOut": 192,
}


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least the product of the strides over time."""

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        architecture: Annotated[
            str, f"{', '.join(NAMED)}, or the JSON text of the model_config of an official file"
        ] = "B2",
    ) -> None:
        super().__init__()
        description = parse_architecture(architecture)
        if num_features != description.bands:
            raise ValueError(
                f"--architecture needs {description.bands} bands, got {num_features}; "
                f"set --n_mels {description.bands}"
            )
        if description.embedding_dim not in (None, embedding_dim):
            raise ValueError(
                f"--architecture has embed_dim {description.embedding_dim}, but --nOut is {embedding_dim}; "
                f"set --nOut {description.embedding_dim}"
            )
        self.backbone = Backbone(description)
        self.pooling = pooling(self.backbone.out_channels, "wespeaker")
        pooled = self.pooling.out_channels
        self.bn = nn.BatchNorm1d(pooled) if description.pooled_norm else nn.Identity()
        self.linear = nn.Linear(pooled, embedding_dim)
        self.bn2 = nn.BatchNorm1d(embedding_dim) if description.embedding_norm else nn.Identity()
        self.frame_multiple = self.backbone.time_stride
        self.unequal_from = self.frame_multiple

    def forward(self, features: Tensor) -> Tensor:
        num_frames = features.shape[2] - features.shape[2] % self.frame_multiple
        frames = self.backbone(features[:, :, :num_frames])
        return self.bn2(self.linear(self.bn(self.pooling(frames))))


class Backbone(nn.Module):
    """Features (B, F, L) -> frames (B, C, L); L a multiple of `time_stride`."""

    def __init__(self, description: Architecture) -> None:
        super().__init__()
        channels = description.channels
        bands = description.bands
        width = channels * bands  # values per frame of every output
        self.stem = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), ChannelNorm(channels), ToFrames())
        self.stem_gnorm = _group_norm(description.norm_groups, width)
        self.stages = nn.ModuleList()
        self.time_stride = 1
        num_outputs = 1
        for number, stage in enumerate(description.stages):
            if bands % stage.band_stride:
                raise ValueError(
                    f"--architecture: stage {number} has a stride of {stage.band_stride} over {bands} bands, "
                    "which it must divide"
                )
            self.time_stride *= stage.time_stride
            layers = [
                WeightedSum(num_outputs, width),
                *_map_layers(description, stage, channels, bands, self.time_stride),
            ]
            channels *= stage.band_stride
            bands //= stage.band_stride
            context = _context(description, stage)
            up = [_upsampling(self.time_stride), _group_norm(description.norm_groups, width)]
            if description.dual and context is not None:
                up_context = [_upsampling(self.time_stride), _group_norm(description.norm_groups, width)]
                self.stages.append(DualStage(layers, context, up, up_context))
                num_outputs += 2
            else:
                self.stages.append(SingleStage(*layers, *([] if context is None else [context]), *up))
                num_outputs += 1
        self.aggregation = WeightedSum(num_outputs, width)
        self.to_maps = ToMaps(channels) if description.pools_maps else nn.Identity()
        self.head, self.out_channels = _head(description, channels, bands)

    def forward(self, features: Tensor) -> Tensor:
        outputs = [self.stem_gnorm(self.stem(features[:, None]))]  # (B, 1, F, L) -> (B, F * C, L)
        for stage in self.stages:
            outputs += stage(outputs)
        maps = self.head(self.to_maps(self.aggregation(outputs)))
        return maps.flatten(1, -2)  # maps of bands: the bands of a channel side by side


class SingleStage(nn.Sequential):
    """All outputs so far, each (B, C, L) -> one more."""

    def forward(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        return [super().forward(outputs)]


class DualStage(nn.Module):
    """All outputs so far, each (B, C, L) -> two more, before and after the 1-D block."""

    def __init__(
        self,
        layers: Sequence[nn.Module],
        context: nn.Module,
        up_maps: Sequence[nn.Module],
        up_context: Sequence[nn.Module],
    ) -> None:
        super().__init__()
        self.pre = nn.Sequential(*layers)
        self.context = context
        self.up_maps = nn.Sequential(*up_maps)
        self.up_context = nn.Sequential(*up_context)

    def forward(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        frames = self.pre(outputs)
        return [self.up_maps(frames), self.up_context(self.context(frames))]


def _map_layers(
    description: Architecture, stage: Stage, channels: int, bands: int, time_stride: int
) -> list[nn.Module]:
    """Frames -> frames through the 2-D blocks of a stage; time_stride: of all stages up to this one."""
    out_channels = channels * stage.band_stride
    out_bands = bands // stage.band_stride
    expanded = int(out_channels * stage.expansion)
    stride = (stage.band_stride, time_stride)
    groups = math.gcd(channels, expanded) if description.grouped_strides else 1
    return [
        ToMaps(channels),
        nn.Conv2d(channels, expanded, stride, stride, groups=groups),
        *(
            make_map_block(
                description.block_2d, expanded, out_bands, stage.kernels, description.group_divisor
            )
            for _ in range(stage.blocks)
        ),
        *([] if stage.expansion == 1 else [_squeeze(description, expanded, out_channels)]),
        ToFrames(),
    ]


def _squeeze(description: Architecture, expanded: int, channels: int) -> nn.Module:
    """Maps with the channels of the 2-D blocks -> maps with those of the outputs."""
    norm = nn.BatchNorm2d(channels, eps=NORM_EPS)
    if description.second_version:
        return nn.Sequential(nn.Conv2d(expanded, channels, 1), norm)
    groups = count_groups(channels, description.group_divisor)
    return nn.Sequential(
        nn.Conv2d(expanded, channels, 3, padding=1, groups=groups),
        norm,
        nn.GELU(),
        nn.Conv2d(channels, channels, 1),
    )


def _context(description: Architecture, stage: Stage) -> nn.Module | None:
    """The 1-D block of a stage, if it has one."""
    if stage.reduction is None:
        return None
    width = description.channels * description.bands
    return TimeContext(description.block_1d, width, width // stage.reduction)


def _upsampling(factor: int) -> nn.Module:
    return nn.Identity() if factor == 1 else nn.Upsample(scale_factor=factor, mode="nearest")


def _group_norm(groups: int, channels: int) -> nn.Module:
    if not groups:
        return nn.Identity()
    if channels % groups:
        raise ValueError(f"--architecture: agg_gnorm {groups} doesn't divide the {channels} values per frame")
    return FrameGroupNorm(groups, channels)


def _head(description: Architecture, channels: int, bands: int) -> tuple[nn.Module, int]:
    """The layers before the pooling, and the channels that are pooled."""
    width = channels * bands
    if description.out_channels is None:
        return nn.Identity(), width
    if description.pools_maps:
        return nn.Conv2d(channels, description.out_channels, 1), description.out_channels * bands
    convolution = nn.Conv1d(width, description.out_channels, 1)
    if description.second_version:
        return convolution, description.out_channels
    return nn.Sequential(convolution, nn.BatchNorm1d(description.out_channels)), description.out_channels
