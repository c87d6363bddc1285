"""Statistics pooling: mean and standard deviation over time (Snyder et al. 2017, section 3.2)."""

import torch
from torch import Tensor, nn

from pooling._statistics import VARIANCE_FLOOR, moments_over_time


class Pooling(nn.Module):
    """Frames (B, C, L) -> means and standard deviations (B, 2C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = 2 * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        mean, variance = moments_over_time(frames, mask)
        return torch.cat([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=1)[:, :, 0]
