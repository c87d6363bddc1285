"""Temporal average pooling."""

from torch import Tensor, nn

from pooling._statistics import uniform, weighted_mean


class Pooling(nn.Module):
    """Frames (B, C, L) -> means (B, C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return weighted_mean(frames, uniform(frames, mask))
