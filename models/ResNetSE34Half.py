"""Fast ResNet-34 with half the channels of a ResNet-34, voxceleb_trainer's ResNetSE34Half (2020)."""

from collections.abc import Callable

from torch import nn

from models._resnet import ThinResNet

DEFAULTS = {"features": "logmel", "n_mels": 64, "encoder_type": "ASP", "nOut": 512}


class MainModel(ThinResNet):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        super().__init__(embedding_dim, pooling, channels=32, strides=(1, 2, 2, 1))
