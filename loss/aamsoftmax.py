"""AAM-Softmax: softmax with an additive angular margin (Deng et al. 2019, arXiv:1801.07698, eq. 3)."""

import math
from typing import Annotated

import torch
from torch import Tensor

import runtime
from loss._head import CosineClassifier, SampleClasses, Scale, SubCenters

SMALLEST_SQUARE = 1e-12  # of a sine: its root's gradient stays finite where vectors coincide


class LossFunction(CosineClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    min_utterances, normalize, per_speaker = 1, True, True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "angle added to the true speaker's, radians"] = 0.1,
        scale: Scale = 30.0,
        easy_margin: Annotated[bool, "only where the true speaker's angle is less than 90 degrees"] = False,
        sample_classes: SampleClasses = 1.0,
        sub_centers: SubCenters = 1,
    ) -> None:
        super().__init__(embedding_dim, num_speakers, margin, scale, sample_classes, sub_centers)
        self.easy_margin = easy_margin

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(embeddings, labels)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """cos(angle) (N, 1) -> cos(angle + margin) (N, 1), beyond 180 degrees a line that goes on falling."""
        sine = (1.0 - cosine.square()).clamp(min=SMALLEST_SQUARE).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        if self.easy_margin:
            return torch.where(cosine > 0.0, turned, cosine)
        beyond = cosine - self.margin * math.sin(self.margin)  # sin(pi - m) = sin(m)
        return torch.where(cosine > -math.cos(self.margin), turned, beyond)
