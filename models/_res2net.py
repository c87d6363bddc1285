"""A dilated Res2Net block over time, shared by ECAPA and RawNet3 (Gao et al. 2019, arXiv:1904.01169)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE = 8  # groups of channels; each convolution's output is added to the next group; the last has none


class Res2Block(nn.Module):
    """Frames (B, C_in, L) -> (B, C, L): 1x1 convolution, a cascade over groups of channels, 1x1 convolution.

    Each convolution is followed by ReLU, then batch norm.
    """

    def __init__(self, in_channels: int, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        if channels < SCALE or channels % SCALE:
            raise ValueError(f"--channels must be a multiple of {SCALE}, got {channels}")
        width = channels // SCALE
        padding = kernel_size // 2 * dilation
        self.conv1 = nn.Conv1d(in_channels, channels, 1)
        self.bn1 = nn.BatchNorm1d(channels)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, kernel_size, dilation=dilation, padding=padding) for _ in range(SCALE - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(SCALE - 1))
        self.conv3 = nn.Conv1d(channels, channels, 1)
        self.bn3 = nn.BatchNorm1d(channels)

    def forward(self, frames: Tensor) -> Tensor:
        *groups, last = self.bn1(F.relu(self.conv1(frames))).chunk(SCALE, dim=1)
        outputs = list[Tensor]()
        output = torch.zeros_like(last)
        for group, convolution, norm in zip(groups, self.convs, self.bns, strict=True):
            output = norm(F.relu(convolution(group + output)))
            outputs.append(output)
        return self.bn3(F.relu(self.conv3(torch.cat([*outputs, last], dim=1))))
