"""Fast ResNet-34 (Chung et al. 2020, arXiv:2003.11982, table 2): the fastest encoder, 1.4 M parameters."""

from collections.abc import Callable

from torch import nn

from models._resnet import ThinResNet

DEFAULTS = {"features": "logmel", "n_mels": 40, "encoder_type": "SAP", "nOut": 512}


class MainModel(ThinResNet):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        super().__init__(embedding_dim, pooling, channels=16, strides=(1, 2, 2, 1))
