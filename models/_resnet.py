"""Residual networks with squeeze-and-excitation, with voxceleb_trainer's order of layers.

He et al. 2016 (arXiv:1512.03385), Hu et al. 2018 (arXiv:1709.01507). Unlike in the papers, ReLU
precedes the first batch norm, because the published checkpoints were trained that way.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

BLOCKS = (3, 4, 6, 3)  # of the four stages of a ResNet-34


class SqueezeExcitation(nn.Module):
    """Maps (B, C, H, W) -> (B, C, H, W), each channel scaled by a gate in (0, 1)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        gates = self.fc(self.mean(maps).flatten(1))  # (B, C)
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
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.bn1(F.relu(self.conv1(maps)))
        residual = self.se(self.bn2(self.conv2(residual)))
        return F.relu(residual + self.downsample(maps))


def shortcut(in_channels: int, channels: int, stride: int | tuple[int, int]) -> nn.Sequential:
    """The identity, or a 1x1 convolution where a block changes the shape of its maps."""
    if stride == 1 and in_channels == channels:
        return nn.Sequential()
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


def stages(
    channels: int,
    strides: Sequence[int],
    block: Callable[[int, int, int], nn.Module] = SEBasicBlock,
    counts: Sequence[int] = BLOCKS,
    expansion: int = 1,
) -> list[nn.Sequential]:
    """Four stages of blocks; a stage's first block has its stride.

    Args:
        channels: C, of the maps that the first stage gets.
        strides: of the stages.
        block: called with the channels before and after the block, and its stride.
        counts: blocks in each stage.
        expansion: the stages have 1, 2, 4, 8 times `expansion * channels` channels.
    """
    layers = list[nn.Sequential]()
    in_channels = channels
    for stage, (count, stride) in enumerate(zip(counts, strides, strict=True)):
        width = expansion * channels * 2**stage
        blocks = [block(in_channels, width, stride)]
        blocks += [block(width, width, 1) for _ in range(count - 1)]
        layers.append(nn.Sequential(*blocks))
        in_channels = width
    return layers


def init_convolutions(network: nn.Module) -> None:
    """Kaiming-normal weights, fan-out mode, for every Conv2d (He et al. 2015, arXiv:1502.01852)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ThinResNet(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D): averages over frequency, pools over time.

    Nagrani et al. 2020 and Chung et al. 2020 (arXiv:2003.11982, tables 1 and 2).
    """

    unequal_from = 1

    def __init__(
        self,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        channels: int,
        strides: Sequence[int],
        max_pool: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, kernel_size=7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.reduce = nn.MaxPool2d(kernel_size=3, stride=(2, 1), padding=1) if max_pool else nn.Identity()
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(channels, strides)
        self.pooling = pooling(8 * channels)
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)
        init_convolutions(self)

    def forward(self, features: Tensor) -> Tensor:
        maps = self.reduce(F.relu(self.bn1(self.conv1(features[:, None]))))  # (B, C, F/2 or F/4, L)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))  # (B, 8C, F', L')
        return self.fc(self.pooling(maps.mean(dim=2)))
