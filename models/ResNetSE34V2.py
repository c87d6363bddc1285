"""ResNet-34 "H / ASP" with attention per channel and band (Heo et al. 2020, arXiv:2009.14153)."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from models._resnet import init_convolutions, stages

DEFAULTS = {
    "features": "logmel",
    "n_mels": 64,
    "pre_emphasis": 0.97,
    "encoder_type": "ASP",
    "nOut": 512,
}
CHANNELS = 32  # of the first stage


class MainModel(nn.Module):
    """Features (B, F, L), F a multiple of 8, L at least 1 -> speaker embeddings (B, D)."""

    unequal_from = 1

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        super().__init__()
        if num_features % 8:
            raise ValueError(
                f"--model ResNetSE34V2 needs a multiple of 8 bands, got {num_features}; change --n_mels"
            )
        self.conv1 = nn.Conv2d(1, CHANNELS, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(CHANNELS)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages(CHANNELS, (1, 2, 2, 2))
        self.pooling = pooling(8 * CHANNELS * num_features // 8, "channelwise")
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)
        init_convolutions(self)

    def forward(self, features: Tensor) -> Tensor:
        maps = self.bn1(F.relu(self.conv1(features[:, None])))  # (B, 32, F, L)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))  # (B, 256, F/8, L/8)
        return self.fc(self.pooling(maps.flatten(1, 2)))  # (B, 32F, L/8) -> (B, D)
