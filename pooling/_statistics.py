"""What the poolings share: masks of padded batches, weighted means and deviations over time."""

import torch
from torch import Tensor

VARIANCE_FLOOR = 1e-5  # keeps the square root's gradient finite where the frames do not vary


def softmax_over_time(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores (B, ..., L), mask (B, L) -> weights that sum to 1 over the frames that count."""
    if mask is not None:
        shape = (len(mask), *[1] * (scores.ndim - 2), mask.shape[1])
        scores = scores.masked_fill(~mask.view(shape), -torch.inf)
    return torch.softmax(scores, dim=-1)


def uniform(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Frames (B, C, L), mask (B, L) -> equal weights (B or 1, 1, L) for the frames that count."""
    if mask is None:
        return frames.new_full((1, 1, frames.shape[2]), 1.0 / frames.shape[2])
    return (mask / mask.sum(dim=1, keepdim=True))[:, None].to(frames.dtype)


def weighted_mean(frames: Tensor, weights: Tensor) -> Tensor:
    """Frames (B, C, L), weights (B, C or 1, L) -> means (B, C)."""
    return (frames * weights).sum(dim=2)


def mean_and_deviation(
    frames: Tensor, weights: Tensor, variances: tuple[float, float | None] = (VARIANCE_FLOOR, None)
) -> Tensor:
    """Frames (B, C, L), weights (B, C or 1, L) -> means, then standard deviations (B, 2C)."""
    mean = weighted_mean(frames, weights)
    variance = weighted_mean((frames - mean[:, :, None]).square(), weights)
    return torch.cat([mean, variance.clamp(*variances).sqrt()], dim=1)
