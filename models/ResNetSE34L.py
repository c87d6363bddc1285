"""Fast ResNet-34 (Chung et al. 2020, arXiv:2003.11982, table 2): 1.4 M parameters, made for speed."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from models._resnet import init_convolutions, stage

DEFAULTS = {"features": "logmel", "n_mels": 40, "encoder_type": "SAP", "nOut": 512}


class MainModel(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); any F and L from 1 up."""

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=7, stride=(2, 1), padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, num_blocks=3, stride=1)
        self.layer2 = stage(16, 32, num_blocks=4, stride=2)
        self.layer3 = stage(32, 64, num_blocks=6, stride=2)
        self.layer4 = stage(64, 128, num_blocks=3, stride=1)
        self.pooling = pooling(128)
        self.fc = nn.Linear(self.pooling.out_channels, embedding_dim)
        init_convolutions(self)

    def forward(self, features: Tensor) -> Tensor:
        maps = F.relu(self.bn1(self.conv1(features[:, None])))  # (B, 1, F, L) -> (B, 16, F/2, L)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))  # (B, 128, F/8, L/4)
        frames = maps.mean(dim=2)  # (B, 128, L/4)
        return self.fc(self.pooling(frames))
