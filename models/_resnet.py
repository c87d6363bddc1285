"""Residual blocks with squeeze-and-excitation, in voxceleb_trainer's order of layers.

He et al. 2016 (arXiv:1512.03385), Hu et al. 2018 (arXiv:1709.01507). ReLU precedes the first batch
norm, unlike the papers: the published checkpoints were trained so.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class SqueezeExcitation(nn.Module):
    """Maps (B, C, H, W) -> the same, each channel scaled by a gate in (0, 1) computed from all of them."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        gates = self.fc(maps.mean(dim=(2, 3)))  # (B, C)
        return maps * gates[:, :, None, None]


class SEBasicBlock(nn.Module):
    """Maps (B, C_in, H, W) -> (B, C_out, H / stride, W / stride): two 3x3 convolutions, gate, shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.bn1(F.relu(self.conv1(maps)))
        residual = self.se(self.bn2(self.conv2(residual)))
        return F.relu(residual + self.downsample(maps))


def stage(in_channels: int, channels: int, num_blocks: int, stride: int) -> nn.Sequential:
    """Blocks of one width; the first one changes the width and takes the stride."""
    blocks = [SEBasicBlock(in_channels, channels, stride)]
    blocks += [SEBasicBlock(channels, channels, 1) for _ in range(num_blocks - 1)]
    return nn.Sequential(*blocks)


def init_convolutions(network: nn.Module) -> None:
    """Kaiming-normal over the outgoing connections for every convolution (arXiv:1502.01852)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
