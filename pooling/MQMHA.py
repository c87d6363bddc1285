"""Multi-query multi-head attention pooling (Zhao et al. 2021, arXiv:2109.01989, section 2.3)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pooling._heads import MultiHeadAttention, weighted_means
from pooling._statistics import VARIANCE_FLOOR, mean_over_time


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means of every query, then standard deviations (B, 2 * queries * C)."""

    def __init__(
        self,
        channels: int,
        attention: str = "scalar",
        *,
        heads: Annotated[int, "attention heads; each weighs its own share of the channels"] = 4,
        queries: Annotated[int, "weightings of each head"] = 2,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(channels, heads, queries)
        self.out_channels = 2 * queries * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        weights, centre = self.attention(frames, mask), mean_over_time(frames.detach(), mask)
        apart = frames - centre  # which changes nothing but the rounding: the squares stay small
        means = weighted_means(apart, weights)  # (B, Q, C)
        variances = weighted_means(apart.square(), weights) - means.square()
        deviations = variances.clamp(min=VARIANCE_FLOOR).sqrt()
        return torch.cat([(means + centre.transpose(1, 2)).flatten(1), deviations.flatten(1)], dim=1)
