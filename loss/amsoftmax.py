"""AM-Softmax: softmax over cosines with an additive margin (Wang et al. 2018, arXiv:1801.05599, eq. 6)."""

from typing import Annotated

from torch import Tensor

import runtime
from loss._head import CosineClassifier, SampleClasses, Scale, SubCenters


class LossFunction(CosineClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    min_utterances, normalize, per_speaker = 1, True, True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "cosine taken off the true speaker's"] = 0.1,
        scale: Scale = 30.0,
        sample_classes: SampleClasses = 1.0,
        sub_centers: SubCenters = 1,
    ) -> None:
        super().__init__(embedding_dim, num_speakers, margin, scale, sample_classes, sub_centers)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(embeddings, labels)

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The true speaker's cosines (N, 1) -> less the margin (N, 1)."""
        return cosine - self.margin
