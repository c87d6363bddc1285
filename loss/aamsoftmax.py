"""AAM-Softmax: softmax with an additive angular margin (Deng et al. 2019, arXiv:1801.07698, eq. 3)."""

import math
from typing import Annotated

import torch
from torch import Tensor

from loss._head import CosineClassifier, SampleClasses, Scale, SubCenters

SMALLEST_SQUARE = 1e-12  # of a sine: keeps the gradient of its root finite where vectors coincide


class LossFunction(CosineClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "angle added to the true speaker's, in radians"] = 0.1,
        scale: Scale = 30.0,
        easy_margin: Annotated[bool, "add the margin only to angles of less than 90 degrees"] = False,
        sample_classes: SampleClasses = 1.0,
        sub_centers: SubCenters = 1,
    ) -> None:
        super().__init__(
            embedding_dim,
            num_speakers,
            margin=margin,
            scale=scale,
            sample_classes=sample_classes,
            sub_centers=sub_centers,
        )
        self.easy_margin = easy_margin

    def with_margin(self, cosine: Tensor) -> Tensor:
        """cos(angle) (N, 1) -> cos(angle + margin) (N, 1); beyond 180 degrees a falling line."""
        sine = (1.0 - cosine.square()).clamp(min=SMALLEST_SQUARE).sqrt()
        rotated = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosine > 0.0, rotated, cosine)
        line = cosine - self.margin * math.sin(self.margin)  # sin(pi - m) = sin(m)
        return torch.where(cosine > -math.cos(self.margin), rotated, line)
