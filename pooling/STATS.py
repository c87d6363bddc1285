"""Statistics pooling: mean and standard deviation over time (Snyder et al. 2017, section 3.2)."""

from torch import Tensor, nn

from pooling._statistics import mean_and_deviation, uniform


class Pooling(nn.Module):
    """Frames (B, C, L) -> means and standard deviations (B, 2C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = 2 * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return mean_and_deviation(frames, uniform(frames, mask))
