"""Statistics over time that the poolings share; a mask (B, L) is True on the frames that count."""

import torch
from torch import Tensor

VARIANCE_FLOOR = 1e-5  # keeps the gradient of the square root finite where all frames are equal
Bounds = tuple[float, float | None]  # least and greatest variance


def softmax_over_time(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Scores (B, ..., L), mask (B, L) -> weights that sum to 1 over the frames that count."""
    if mask is not None:
        shape = (len(mask), *[1] * (scores.ndim - 2), mask.shape[1])
        scores = scores.masked_fill(~mask.view(shape), -torch.inf)
    return torch.softmax(scores, dim=-1)


def mean_over_time(frames: Tensor, mask: Tensor | None) -> Tensor:
    """Frames (B, C, L), mask (B, L) -> means of the frames that count (B, C, 1)."""
    if mask is None:
        return frames.mean(dim=2, keepdim=True)
    return (frames * mask[:, None]).sum(dim=2, keepdim=True) / mask.sum(dim=1)[:, None, None]


def moments_over_time(frames: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frames (B, C, L), mask (B, L) -> means and population variances (B, C, 1) of the frames that count.

    In float32 also in mixed precision, where squares of bf16 would be rounded and those of fp16 overflow.
    """
    frames = frames.float()
    mean = mean_over_time(frames, mask)
    centred = frames - mean
    if mask is None:  # several times as fast as frames.var()
        return mean, torch.linalg.vector_norm(centred, dim=2, keepdim=True).square() / frames.shape[2]
    return mean, mean_over_time(centred.square(), mask)


def unbiased(variance: Tensor, frames: Tensor, mask: Tensor | None) -> Tensor:
    """Population variances (B, C, 1) of frames (B, C, L), mask (B, L) -> unbiased ones; zero if L is 1."""
    if mask is None:
        count = frames.shape[2]
        return variance * (count / max(count - 1, 1))  # no tensor: an exported network keeps L open
    counts = mask.sum(dim=1)[:, None, None]
    return variance * (counts / (counts - 1).clamp(min=1))


def weighted_mean_and_deviation(
    frames: Tensor, weights: Tensor, variances: Bounds, mask: Tensor | None
) -> Tensor:
    """Frames (B, C, L), weights (B, 1 or C, L) -> means, then standard deviations (B, 2C).

    In float32, as moments_over_time. The plain mean is subtracted first: this keeps the squares small, so
    that their difference is exact. Not by torch.einsum: on a CPU its gradient takes four to ten times as
    long, and in mixed precision it rounds what it multiplies.
    """
    frames = frames.float()
    centre = mean_over_time(frames.detach(), mask)
    centred = frames - centre
    weighted = centred * weights
    mean = weighted.sum(dim=2)
    variance = (weighted * centred).sum(dim=2) - mean.square()
    return torch.cat([centre[:, :, 0] + mean, variance.clamp(*variances).sqrt()], dim=1)
