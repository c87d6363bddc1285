"""ResNet-34 (He et al. 2016, arXiv:1512.03385), as in the mmclassification-based verifier.

Not wespeaker's ResNet34, which is --model ResNet --depth 34.
"""

from collections.abc import Callable

from torch import nn

from models._residual import BasicBlock, FlatResNet

DEFAULTS = {"features": "fbank", "n_mels": 80, "encoder_type": "STATS", "nOut": 256}


class MainModel(FlatResNet):
    """Features (B, F, L) -> speaker embeddings (B, D); F and L at least 1."""

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
    ) -> None:
        super().__init__(num_features, embedding_dim, pooling, BasicBlock)
