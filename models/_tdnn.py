"""Time-delay networks for x-vectors (Snyder et al. 2018, X-vectors: robust DNN embeddings, ICASSP)."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Layer(NamedTuple):
    """A time-delay layer: output channels, frames that a window has, distance between them."""

    channels: int
    width: int
    dilation: int = 1


def time_delay(in_channels: int, layer: Layer) -> nn.Sequential:
    """Frames (B, C_in, L) -> (B, C, L'): convolution without padding, ReLU, batch norm without scale."""
    convolution = nn.Conv1d(in_channels, layer.channels, layer.width, dilation=layer.dilation)
    norm = nn.BatchNorm1d(layer.channels, affine=False)
    return nn.Sequential(OrderedDict(conv=convolution, relu=nn.ReLU(), bn=norm))


class TimeDelayNetwork(nn.Module):
    """Features (B, F, L) -> speaker embeddings (B, D); L at least 1.

    The embedding is the second linear layer after the pooling. Zeros follow fewer frames than a window has.
    """

    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        pooling: Callable[..., nn.Module],
        layers: Sequence[Layer],
    ) -> None:
        super().__init__()
        inputs = [num_features, *(layer.channels for layer in layers[:-1])]
        self.frames = nn.Sequential(*map(time_delay, inputs, layers))
        self.unequal_from = 1 + sum((layer.width - 1) * layer.dilation for layer in layers)
        self.pooling = pooling(layers[-1].channels, "channelwise")
        self.seg_1 = nn.Linear(self.pooling.out_channels, embedding_dim)
        self.seg_bn_1 = nn.BatchNorm1d(embedding_dim, affine=False)
        self.seg_2 = nn.Linear(embedding_dim, embedding_dim)

    def forward(self, features: Tensor) -> Tensor:
        missing = torch.sym_max(0, self.unequal_from - features.shape[2])
        pooled = self.pooling(self.frames(F.pad(features, (0, missing))))
        return self.seg_2(self.seg_bn_1(self.seg_1(pooled).relu()))
