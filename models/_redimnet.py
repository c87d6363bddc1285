"""Blocks of ReDimNet and ReDimNet2 (Yakovlev et al. 2024, arXiv:2407.18223; 2026, arXiv:2603.11841).

Maps are (B, C, F, L), frames (B, F * C, L) with the channels of a band side by side. Attributes with
parameters are named as in the official files.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORM_EPS = 1e-6  # of layer norms, and of the batch norm that follows expanded blocks
NUM_HEADS = 4
CONTEXT_KERNELS = (7, 19, 31, 59)  # frames, of the 1-D block "conv+att"
PARALLEL_KERNELS = (7, 15, 31)  # of the 1-D block "conv"
POSITION_KERNEL = 59  # of the 1-D block "att"


class ToFrames(nn.Module):
    """Maps (B, C, F, L) -> frames (B, F * C, L)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.transpose(1, 2).flatten(1, 2)


class ToMaps(nn.Module):
    """Frames (B, F * C, L) -> maps (B, C, F, L)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, frames: Tensor) -> Tensor:
        return frames.unflatten(1, (-1, self.channels)).transpose(1, 2)


class WeightedSum(nn.Module):
    """N outputs (B, C, L) -> (B, C, L): their mean, with learned weights per output and channel."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        # the weight of a single output is 1
        self.w = nn.Parameter(torch.zeros(1, inputs, channels, 1)) if inputs > 1 else None

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        if self.w is None:
            return outputs[0]
        weights = torch.softmax(self.w, dim=1).unbind(dim=1)
        total = outputs[0] * weights[0]
        for output, weight in zip(outputs[1:], weights[1:], strict=True):
            total.addcmul_(output, weight)  # in place: memory for another result costs more than the sum
        return total


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, ..., L)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


class FrameGroupNorm(nn.GroupNorm):
    """Group norm of frames (B, C, L); with a mask (B, L), over the frames that count."""

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(frames)
        groups = frames.unflatten(1, (self.num_groups, -1))  # (B, G, C / G, L)
        counted = mask[:, None, None]
        count = groups.shape[2] * mask.sum(dim=1)[:, None, None, None]
        centred = (groups - (groups * counted).sum(dim=(2, 3), keepdim=True) / count) * counted
        variance = centred.square().sum(dim=(2, 3), keepdim=True) / count
        normalised = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        return normalised * self.weight[:, None] + self.bias[:, None]


def make_map_block(
    kind: str, channels: int, bands: int, kernels: Sequence[tuple[int, int]], group_divisor: int | None
) -> nn.Module:
    """The 2-D block of a description."""
    if kind == "convnext_like":
        block: nn.Module = ConvNeXtBlock(channels, kernels, group_divisor)
    else:
        block = ResidualBlock(channels, group_divisor, bands if kind == "basic_resnet_fwse" else None)
    return nn.Sequential(OrderedDict(conv_block=block))


class ConvNeXtBlock(nn.Module):
    """(B, C, ..., L) -> the same shape: parallel grouped convolutions, batch norm, GELU, 1x1, shortcut."""

    def __init__(self, channels: int, kernels: Sequence[tuple[int, ...]], group_divisor: int | None) -> None:
        super().__init__()
        is_map = len(kernels[0]) == 2
        convolution = nn.Conv2d if is_map else nn.Conv1d
        groups = count_groups(channels, group_divisor)
        self.dwconvs = nn.ModuleList(
            convolution(
                channels, channels, kernel, padding=tuple(size // 2 for size in kernel), groups=groups
            )
            for kernel in kernels
        )
        width = channels * len(kernels)
        self.norm = (nn.BatchNorm2d if is_map else nn.BatchNorm1d)(width)
        self.pwconv1 = convolution(width, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        outputs = [convolution(maps) for convolution in self.dwconvs]
        hidden = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)
        return maps + self.pwconv1(F.gelu(self.norm(hidden)))


class ResidualBlock(nn.Module):
    """Maps (B, C, F, L) -> the same shape: two 3x3 convolutions, each grouped and then mixed by a 1x1."""

    def __init__(self, channels: int, group_divisor: int | None, gated_bands: int | None) -> None:
        super().__init__()
        groups = count_groups(channels, group_divisor)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=groups)
        self.conv1pw = nn.Identity() if group_divisor is None else nn.Conv2d(channels, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=groups)
        self.conv2pw = nn.Identity() if group_divisor is None else nn.Conv2d(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        hidden = min(64, max(channels, 32))
        self.se = BandGate(gated_bands, hidden) if gated_bands else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        hidden = self.bn1(F.relu(self.conv1pw(self.conv1(maps))))  # the norm follows the ReLU
        hidden = self.bn2(self.conv2pw(self.conv2(hidden)))
        return F.relu(self.se(hidden) + maps)


class BandGate(nn.Module):
    """Maps (B, C, F, L) -> the same shape, each band scaled by a gate; mask (B, L): the frames that count."""

    def __init__(self, bands: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(bands, hidden)
        self.exitation = nn.Linear(hidden, bands)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        means = maps.mean(dim=1)  # (B, F, L)
        if mask is None:
            means = means.mean(dim=2)
        else:
            means = (means * mask[:, None]).sum(dim=2) / mask.sum(dim=1, keepdim=True)
        gates = torch.sigmoid(self.exitation(F.relu(self.squeeze(means))))
        return maps * gates[:, None, :, None]


class TimeContext(nn.Module):
    """Frames (B, C, L) -> the same shape: the 1-D block of a description, in fewer channels."""

    def __init__(self, kind: str, channels: int, hidden: int) -> None:
        super().__init__()
        self.red_dim_conv = nn.Sequential(nn.Conv1d(channels, hidden, 1), ChannelNorm(hidden))
        self.tcm = nn.Sequential(*_context_layers(kind, hidden))
        self.exp_dim_conv = nn.Conv1d(hidden, channels, 1)

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.exp_dim_conv(self.tcm(self.red_dim_conv(frames)))


def _context_layers(kind: str, channels: int) -> list[nn.Module]:
    if kind == "fc":
        wide = 2 * channels
        return [nn.Conv1d(channels, wide, 1), ChannelNorm(wide), nn.GELU(), nn.Conv1d(wide, channels, 1)]
    if kind == "conv":
        kernels = [(size,) for size in PARALLEL_KERNELS]
        return [ConvNeXtBlock(channels, kernels, 1) for _ in range(4)]
    if kind == "att":
        return [PositionConvolution(channels), TransformerLayer(channels, 2 * channels)]
    assert kind == "conv+att"
    convolutions = [ConvNeXtBlock(channels, [(size,)], 1) for size in CONTEXT_KERNELS]
    return [*convolutions, TransformerLayer(channels, channels)]


class PositionConvolution(nn.Module):
    """Frames (B, C, L) -> the same shape: a wide depth-wise convolution instead of a positional encoding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            channels, channels, POSITION_KERNEL, padding=POSITION_KERNEL // 2, groups=channels
        )
        self.norm = ChannelNorm(channels)

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self.norm(self.conv(frames))


class TransformerLayer(nn.Module):
    """Frames (B, C, L), mask (B, L) -> (B, C, L): self-attention, then two linear layers.

    Each has a shortcut with a layer norm after it (Vaswani et al. 2017, arXiv:1706.03762).
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.attention = SelfAttention(channels)
        self.layer_norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.feed_forward = nn.ModuleDict(
            {
                "intermediate_dense": nn.Linear(channels, hidden),
                "output_dense": nn.Linear(hidden, channels),
            }
        )
        self.final_layer_norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        sequence = frames.transpose(1, 2)  # (B, L, C)
        sequence = self.layer_norm(sequence + self.attention(sequence, mask))
        hidden = F.gelu(self.feed_forward["intermediate_dense"](sequence), approximate="tanh")
        sequence = self.final_layer_norm(sequence + self.feed_forward["output_dense"](hidden))
        return sequence.transpose(1, 2)


class SelfAttention(nn.Module):
    """Sequences (B, L, C), which frames may be attended to (B, L) -> (B, L, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % NUM_HEADS:
            raise ValueError(
                f"--architecture: 1-D blocks with attention need a multiple of {NUM_HEADS} channels, got "
                f"{channels} (F * C over the reduction of the stage)"
            )
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, sequence: Tensor, attended: Tensor | None) -> Tensor:
        query, key, value = (
            projection(sequence).unflatten(2, (NUM_HEADS, -1)).transpose(1, 2)  # (B, H, L, C / H)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        mask = None if attended is None else attended[:, None, None]
        outputs = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out_proj(outputs.transpose(1, 2).flatten(2))


def count_groups(channels: int, group_divisor: int | None) -> int:
    """Groups of a convolution whose groups have as many channels as `group_divisor` says."""
    if group_divisor is None:
        return 1
    if channels % group_divisor:
        raise ValueError(
            f"--architecture: group_divisor {group_divisor} doesn't divide the {channels} channels of a stage"
        )
    return channels // group_divisor
