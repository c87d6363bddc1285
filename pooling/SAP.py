"""Self-attentive pooling: attention-weighted mean (Cai et al. 2018, arXiv:1804.05160, eq. 3-4)."""

from torch import Tensor, nn

from pooling._attention import ScalarAttention


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means (B, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attention = ScalarAttention(channels)
        self.out_channels = channels

    def forward(self, frames: Tensor) -> Tensor:
        return (frames * self.attention(frames)).sum(dim=2)
