"""ResNet34 with squeeze-and-excitation in every block (Hu et al. 2018, arXiv:1709.01507)."""

from collections.abc import Callable
from typing import Annotated, Literal

from torch import nn

from models._residual import BasicBlock, FlatResNet

DEFAULTS = {"features": "fbank", "n_mels": 80, "encoder_type": "STATS", "nOut": 256}


class SEBlock(BasicBlock):
    """BasicBlock with a gate per channel."""

    reduction = 16


class MainModel(FlatResNet):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        *,
        stages: Annotated[Literal["last", "all"], "pool the maps of the last stage or of all four"] = "last",
    ) -> None:
        super().__init__(num_features, embedding_dim, pooling, SEBlock, stages)
