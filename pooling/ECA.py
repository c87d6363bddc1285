"""Channel- and context-dependent statistics pooling (Desplanques et al. 2020, arXiv:2005.07143, eq. 1-4)."""

from torch import Tensor, nn

from pooling._attention import make_context_attention
from pooling._statistics import weighted_mean_and_deviation


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means and standard deviations (B, 2C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.attention = make_context_attention(channels, attention)
        self.out_channels = 2 * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        weights = self.attention(frames, mask)
        return weighted_mean_and_deviation(frames, weights, self.attention.variances, mask)
