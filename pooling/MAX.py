"""Maximum over time."""

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """Frames (B, C, L) -> maxima (B, C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            frames = frames.masked_fill(~mask[:, None], -torch.inf)
        return frames.amax(dim=2)
