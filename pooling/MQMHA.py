"""Multi-query multi-head attention pooling (Zhao et al. 2021, arXiv:2109.01989, section 2.3)."""

from typing import Annotated

import torch
from torch import Tensor, nn

from pooling._heads import MultiHeadAttention, weighted_means
from pooling._statistics import VARIANCE_FLOOR, mean_over_time


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means, then deviations, of every query (B, 2 * queries * C)."""

    def __init__(
        self,
        channels: int,
        attention: str = "scalar",
        *,
        heads: Annotated[int, "attention heads; each weights an equal share of the channels"] = 4,
        queries: Annotated[int, "queries per head, each with its weights"] = 2,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(channels, heads, queries)
        self.out_channels = 2 * queries * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        weights = self.attention(frames, mask)  # (B, Q, H, L)
        centre = mean_over_time(frames.detach(), mask)  # (B, C, 1)
        centred = frames - centre  # keeps the squares small, so that their difference is exact
        means = weighted_means(centred, weights)  # (B, Q, C)
        variances = weighted_means(centred.square(), weights) - means.square()
        deviations = variances.clamp(min=VARIANCE_FLOOR).sqrt()
        return torch.cat([(means + centre.transpose(1, 2)).flatten(1), deviations.flatten(1)], dim=1)
