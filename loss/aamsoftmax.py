"""AAM-Softmax: softmax with an additive angular margin (Deng et al. 2019, arXiv:1801.07698, eq. 3)."""

from typing import Annotated

import torch
from torch import Tensor

from loss._angles import larger_angle, rotated, smaller_angle
from loss._head import InterTopk, InterTopkPenalty, MarginClassifier, SampleClasses, Scale, SubCenters

ADDED = ("inter_topk", "inter_topk_penalty")


class LossFunction(MarginClassifier):
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
        inter_topk: InterTopk = 0,
        inter_topk_penalty: InterTopkPenalty = 0.06,
    ) -> None:
        super().__init__(
            embedding_dim,
            num_speakers,
            margin=margin,
            scale=scale,
            sample_classes=sample_classes,
            sub_centers=sub_centers,
            inter_topk=inter_topk,
            inter_topk_penalty=inter_topk_penalty,
        )
        self.easy_margin = easy_margin

    def with_margin(self, cosine: Tensor) -> Tensor:
        """cos(angle) (N, 1) -> cos(angle + margin) (N, 1); beyond 180 degrees a falling line."""
        if self.easy_margin:
            return torch.where(cosine > 0.0, rotated(cosine, self.margin), cosine)
        return larger_angle(cosine, self.margin)

    def with_penalty(self, cosine: Tensor) -> Tensor:
        """cos(angle) -> cos(angle - penalty), of the same shape."""
        return smaller_angle(cosine, self.inter_topk_penalty)
