"""ResNet r-vectors of 18 to 293 layers (Zeinali et al. 2019, arXiv:1910.12592), as in wespeaker.

Not the network of --model ResNet34: that one is the mmclassification-based verifier's ResNet-34, with another
pooling, ReLU and batch norm after the embedding layer, and another momentum of its batch norms.
"""

from collections.abc import Callable
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from models._residual import BasicBlock, FlatResNet
from models._resnet import shortcut

DEFAULTS = {"features": "fbank", "n_mels": 80, "use_energy": False, "encoder_type": "TSTP", "nOut": 256}
COUNTS = {  # layers of the network -> blocks of its four stages
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    221: (6, 16, 48, 3),
    293: (10, 20, 64, 3),
}
BOTTLENECKS_FROM = 50  # layers
EXPANSION = 4  # channels of a bottleneck's output over those of its 3x3 convolution
MOMENTUM = 0.1  # of the batch norms' running statistics


class Bottleneck(nn.Module):
    """Maps (B, C_in, H, W) -> (B, C_out, H / stride, W / stride): 1x1 to C_out / 4, 3x3, 1x1 to C_out."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        width = channels // EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(in_channels, channels, stride)

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(maps)))
        residual = F.relu(self.bn2(self.conv2(residual)))
        return F.relu(self.bn3(self.conv3(residual)) + self.downsample(maps))


class MainModel(FlatResNet):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        depth: Annotated[
            Literal[18, 34, 50, 101, 152, 221, 293],
            "layers; 18 and 34 have basic blocks, the others bottlenecks. 34 is wespeaker's ResNet34, "
            "not the network of --model ResNet34",
        ] = 34,
    ) -> None:
        has_bottlenecks = depth >= BOTTLENECKS_FROM
        super().__init__(
            num_features,
            embedding_dim,
            pooling,
            Bottleneck if has_bottlenecks else BasicBlock,
            counts=COUNTS[depth],
            expansion=EXPANSION if has_bottlenecks else 1,
            head=nn.Linear,
            momentum=MOMENTUM,
        )
