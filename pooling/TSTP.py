"""Statistics pooling with the unbiased variance, as in wespeaker's r-vectors (arXiv:1910.12592) and CAM++."""

import torch
from torch import Tensor, nn

from pooling._statistics import moments_over_time, unbiased

ADDED_VARIANCE = 1e-7  # keeps the gradient of the square root finite where all frames are equal


class Pooling(nn.Module):
    """Frames (B, C, L) -> means, then deviations sqrt(unbiased variance + 1e-7) (B, 2C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = 2 * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        mean, variance = moments_over_time(frames, mask)
        deviation = (unbiased(variance, frames, mask) + ADDED_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=1)[:, :, 0]
