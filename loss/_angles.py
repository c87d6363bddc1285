"""Cosines of angles that are made larger or smaller, with finite gradients also at 0 and 180 degrees."""

import math

import torch
from torch import Tensor

SMALLEST_SQUARE = 1e-12  # of a sine: keeps the gradient of its root finite where vectors coincide


def larger_angle(cosine: Tensor, angle: float) -> Tensor:
    """cos(a) -> cos(a + angle), of the same shape; beyond 180 degrees a falling line."""
    line = cosine - angle * math.sin(angle)  # sin(pi - angle) = sin(angle)
    return torch.where(cosine > -math.cos(angle), rotated(cosine, angle), line)


def smaller_angle(cosine: Tensor, angle: float) -> Tensor:
    """cos(a) -> cos(a - angle), of the same shape; below 0 degrees a rising line that continues it."""
    line = cosine + (1.0 - math.cos(angle))
    return torch.where(cosine < math.cos(angle), rotated(cosine, -angle), line)


def rotated(cosine: Tensor, angle: float) -> Tensor:
    """cos(a) -> cos(a + angle), of the same shape, which falls and rises again beyond 180 degrees."""
    sine = (1.0 - cosine.square()).clamp(min=SMALLEST_SQUARE).sqrt()
    return cosine * math.cos(angle) - sine * math.sin(angle)
