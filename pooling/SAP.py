"""Self-attentive pooling: attention-weighted mean (Cai et al. 2018, arXiv:1804.05160, eq. 3-4)."""

from torch import Tensor, nn

from pooling._attention import make_attention


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means (B, C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.attention = make_attention(channels, attention)
        self.out_channels = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return (frames * self.attention(frames, mask)).sum(dim=2)
