"""E-TDNN: x-vectors of ten layers over 23 frames, dense ones between the time-delay layers.

Snyder et al. 2019, Speaker recognition for multi-speaker conversations using x-vectors, ICASSP (table 2).
"""

from collections.abc import Callable

from torch import nn

from models._tdnn import Layer, TimeDelayNetwork
from models.XVector import DEFAULTS as DEFAULTS

CHANNELS = 512
POOLED_CHANNELS = 1500


class MainModel(TimeDelayNetwork):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1."""

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        dense = Layer(CHANNELS, 1)
        layers = [
            Layer(CHANNELS, 5),
            dense,
            Layer(CHANNELS, 3, dilation=2),
            dense,
            Layer(CHANNELS, 3, dilation=3),
            dense,
            Layer(CHANNELS, 3, dilation=4),
            dense,
            dense,
            Layer(POOLED_CHANNELS, 1),
        ]
        super().__init__(num_features, embedding_dim, pooling, layers)
