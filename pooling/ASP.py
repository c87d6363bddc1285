"""Attentive statistics pooling: weighted mean and deviation (Okabe et al. 2018, arXiv:1803.10963)."""

from torch import Tensor, nn

from pooling._attention import make_attention
from pooling._statistics import mean_and_deviation


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means and standard deviations (B, 2C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.attention = make_attention(channels, attention)
        self.out_channels = 2 * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return mean_and_deviation(frames, self.attention(frames, mask), self.attention.variances)
