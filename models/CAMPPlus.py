"""CAM++: a densely connected TDNN with context-aware masking (Wang et al. 2023, arXiv:2303.00332)."""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models._residual import BasicBlock

DEFAULTS = {"features": "fbank", "n_mels": 80, "use_energy": False, "encoder_type": "TSTP", "nOut": 512}
HEAD_CHANNELS = 32
CHANNELS = 128  # of the first time-delay layer
GROWTH = 32  # channels that each dense layer adds
BOTTLENECK = 128  # channels within a dense layer
LAYERS = (12, 24, 16)  # of the three dense blocks
DILATIONS = (1, 2, 2)  # of the three dense blocks
SEGMENT = 100  # frames
REDUCTION = 2  # channels of the bottleneck over units of a mask


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    unequal_from = 1

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.head = Head(num_features)
        layers = OrderedDict[str, nn.Module]()
        layers["tdnn"] = time_delay(self.head.out_channels, CHANNELS)
        channels = CHANNELS
        for number, (count, dilation) in enumerate(zip(LAYERS, DILATIONS, strict=True), start=1):
            layers[f"block{number}"] = DenseBlock(channels, count, dilation)
            channels += count * GROWTH
            layers[f"transit{number}"] = transition(channels, channels // 2)
            channels //= 2
        layers["out_nonlinear"] = norm_relu(channels)
        layers["stats"] = pooling(channels, "channelwise")
        layers["dense"] = Embedding(layers["stats"].out_channels, embedding_dim)
        self.xvector = nn.Sequential(layers)
        for module in self.xvector.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.xvector(self.head(features))


class Head(nn.Module):
    """Features (B, F, L) -> frames (B, C, L): 2-D convolutions that reduce the bands eightfold."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, HEAD_CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.layer1 = two_blocks()
        self.layer2 = two_blocks()
        self.conv2 = nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(HEAD_CHANNELS)
        self.out_channels = HEAD_CHANNELS * ((num_features + 7) // 8)

    def forward(self, features: Tensor) -> Tensor:
        maps = F.relu(self.bn1(self.conv1(features[:, None])))  # (B, 32, F, L)
        maps = self.layer2(self.layer1(maps))  # (B, 32, F/4, L)
        maps = F.relu(self.bn2(self.conv2(maps)))  # (B, 32, F/8, L)
        return maps.flatten(1, 2)


def two_blocks() -> nn.Sequential:
    """Maps (B, 32, H, L) -> (B, 32, H/2, L)."""
    return nn.Sequential(
        BasicBlock(HEAD_CHANNELS, HEAD_CHANNELS, (2, 1)), BasicBlock(HEAD_CHANNELS, HEAD_CHANNELS, 1)
    )


def norm_relu(channels: int) -> nn.Sequential:
    """Batch norm, ReLU."""
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True)))


def time_delay(in_channels: int, channels: int) -> nn.Sequential:
    """Frames (B, C_in, L) -> (B, C_out, L/2): convolution over 5 frames, batch norm, ReLU."""
    convolution = nn.Conv1d(in_channels, channels, 5, stride=2, padding=2, bias=False)
    return nn.Sequential(OrderedDict(linear=convolution, nonlinear=norm_relu(channels)))


def transition(in_channels: int, channels: int) -> nn.Sequential:
    """Frames (B, C_in, L) -> (B, C_out, L): batch norm, ReLU, 1x1 convolution."""
    convolution = nn.Conv1d(in_channels, channels, 1, bias=False)
    return nn.Sequential(OrderedDict(nonlinear=norm_relu(in_channels), linear=convolution))


class DenseBlock(nn.Sequential):
    """Frames (B, C, L) -> (B, C + 32 n, L): each of n layers gets the input and all earlier outputs."""

    def __init__(self, channels: int, count: int, dilation: int) -> None:
        layers = (DenseLayer(channels + i * GROWTH, dilation) for i in range(count))
        super().__init__(OrderedDict((f"tdnnd{i}", layer) for i, layer in enumerate(layers, start=1)))

    def forward(self, frames: Tensor) -> Tensor:
        for layer in self:
            frames = torch.cat([frames, layer(frames)], dim=1)
        return frames


class DenseLayer(nn.Module):
    """Frames (B, C, L) -> (B, 32, L): 1x1 convolution to 128 channels, masked convolution over 3 frames."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = norm_relu(channels)
        self.linear1 = nn.Conv1d(channels, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = norm_relu(BOTTLENECK)
        self.cam_layer = MaskedConvolution(dilation)

    def forward(self, frames: Tensor) -> Tensor:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(frames))))


class MaskedConvolution(nn.Module):
    """Frames (B, 128, L) -> (B, 32, L), each segment scaled by a mask in (0, 1)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // REDUCTION, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // REDUCTION, GROWTH, 1)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = F.relu(self.linear1(segment_context(frames, mask)))
        gates = torch.sigmoid(self.linear2(hidden))  # (B, 32, S): the frames of a segment share a mask
        gates = gates.repeat_interleave(SEGMENT, dim=2)[:, :, : frames.shape[2]]
        return self.linear_local(frames) * gates


def segment_context(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Frames (B, C, L), mask (B, L) -> mean of the utterance plus mean of each segment (B, C, S).

    Segments have 100 frames, the last one those that remain.
    """
    if mask is None:
        segments = F.avg_pool1d(frames, SEGMENT, ceil_mode=True)
        return segments + frames.mean(dim=2, keepdim=True)
    counted = mask[:, None].to(frames.dtype)  # (B, 1, L)
    frames = frames * counted
    share = F.avg_pool1d(counted, SEGMENT, ceil_mode=True)  # of a segment's frames that count
    segments = F.avg_pool1d(frames, SEGMENT, ceil_mode=True) / share.clamp(min=1 / SEGMENT)
    return segments + frames.sum(dim=2, keepdim=True) / counted.sum(dim=2, keepdim=True)


class Embedding(nn.Module):
    """Pooled (B, C) -> embeddings (B, D): linear, batch norm without scale and offset."""

    def __init__(self, in_channels: int, embedding_dim: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, embedding_dim, 1, bias=False)  # of one frame
        norm = nn.BatchNorm1d(embedding_dim, affine=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=norm))

    def forward(self, pooled: Tensor) -> Tensor:
        return self.nonlinear(self.linear(pooled[:, :, None]))[:, :, 0]
