"""Temporal average pooling."""

from torch import Tensor, nn

from pooling._statistics import mean_over_time


class Pooling(nn.Module):
    """Frames (B, C, L) -> means (B, C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return mean_over_time(frames, mask)[:, :, 0]
