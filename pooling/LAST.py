"""The last frame, for recurrent layers, whose last state has seen the whole utterance (arXiv:1710.10467)."""

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """Frames (B, C, L) -> last frames (B, C)."""

    def __init__(self, channels: int, attention: str = "scalar") -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return frames[:, :, -1]
        utterances = torch.arange(len(frames), device=frames.device)
        return frames[utterances, :, mask.sum(dim=1) - 1]
