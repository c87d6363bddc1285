"""x-vectors: five time-delay layers over 15 frames (Snyder et al. 2018), as in wespeaker's XVEC."""

from collections.abc import Callable

from torch import nn

from models._tdnn import Layer, TimeDelayNetwork

DEFAULTS = {
    "features": "fbank",
    "n_mels": 80,
    "use_energy": False,
    "window": "hamming",
    "encoder_type": "TSTP",
    "nOut": 512,
}
CHANNELS = 512
POOLED_CHANNELS = 1500


class MainModel(TimeDelayNetwork):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1."""

    def __init__(self, num_features: int, embedding_dim: int, pooling: Callable[..., nn.Module]) -> None:
        layers = [
            Layer(CHANNELS, 5),
            Layer(CHANNELS, 3, dilation=2),
            Layer(CHANNELS, 3, dilation=3),
            Layer(CHANNELS, 1),
            Layer(POOLED_CHANNELS, 1),
        ]
        super().__init__(num_features, embedding_dim, pooling, layers)
