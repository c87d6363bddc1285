"""Multi-head attention over time: learned queries, each head over an equal share of the channels."""

import torch
from torch import Tensor, nn

from pooling._statistics import softmax_over_time


class MultiHeadAttention(nn.Module):
    """Frames (B, C, L) -> weights (B, Q, H, L) for Q queries and H heads."""

    def __init__(self, channels: int, heads: int, queries: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"--heads must divide the {channels} channels that are pooled, got {heads}")
        if queries < 1:
            raise ValueError(f"--queries must be at least 1, got {queries}")
        self.heads = heads
        self.queries = nn.Parameter(nn.init.xavier_normal_(torch.empty(queries, channels)))

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        split = frames.unflatten(1, (self.heads, -1))  # (B, H, C / H, L)
        queries = self.queries.unflatten(1, (self.heads, -1))  # (Q, H, C / H)
        scores = torch.einsum("qhc,bhcl->bqhl", queries, split) / split.shape[2] ** 0.5
        return softmax_over_time(scores, mask)


def weighted_means(frames: Tensor, weights: Tensor) -> Tensor:
    """Frames (B, C, L), weights (B, Q, H, L) -> means over time (B, Q, C)."""
    split = frames.unflatten(1, (weights.shape[2], -1))
    return torch.einsum("bqhl,bhcl->bqhc", weights, split).flatten(2)
