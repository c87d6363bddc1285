"""Self multi-head attention pooling (India et al. 2019, arXiv:1906.09890, eq. 3-5)."""

from typing import Annotated

from torch import Tensor, nn

from pooling._heads import MultiHeadAttention, weighted_means


class Pooling(nn.Module):
    """Frames (B, C, L) -> weighted means (B, C)."""

    def __init__(
        self,
        channels: int,
        attention: str = "scalar",
        *,
        heads: Annotated[int, "attention heads; each weights an equal share of the channels"] = 4,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(channels, heads, queries=1)
        self.out_channels = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_means(frames, self.attention(frames, mask)).flatten(1)
