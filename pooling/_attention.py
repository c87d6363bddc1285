"""Self-attention weights over time with one head (after Cai et al. 2018, arXiv:1804.05160, eq. 3)."""

import torch
from torch import Tensor, nn


class ScalarAttention(nn.Module):
    """Frames (B, C, L) -> weights (B, 1, L) that sum to 1: softmax_t(v . tanh(W x_t + b))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)
        self.vector = nn.Parameter(nn.init.xavier_normal_(torch.empty(channels, 1)))

    def forward(self, frames: Tensor) -> Tensor:
        hidden = torch.tanh(self.linear(frames.transpose(1, 2)))  # (B, L, C)
        return torch.softmax(hidden @ self.vector, dim=1).transpose(1, 2)  # (B, 1, L)
