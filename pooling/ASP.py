"""Attentive statistics pooling: weighted mean and deviation (Okabe et al. 2018, arXiv:1803.10963)."""

import torch
from torch import Tensor, nn

from pooling._attention import ScalarAttention

VARIANCE_FLOOR = 1e-5  # keeps the square root's gradient finite where the frames do not vary


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means and standard deviations (B, 2C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = ScalarAttention(channels)
        self.out_channels = 2 * channels

    def forward(self, frames: Tensor) -> Tensor:
        weights = self.attention(frames)
        mean = (frames * weights).sum(dim=2)  # eq. 5
        variance = (frames.square() * weights).sum(dim=2) - mean.square()  # eq. 6
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)
