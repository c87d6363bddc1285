"""AM-Softmax: softmax over cosines with an additive margin (Wang et al. 2018, arXiv:1801.05599, eq. 6)."""

from typing import Annotated

from torch import Tensor

from loss._head import InterTopk, InterTopkPenalty, MarginClassifier, SampleClasses, Scale, SubCenters

ADDED = ("inter_topk", "inter_topk_penalty")


class LossFunction(MarginClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "subtracted from the true speaker's cosine"] = 0.1,
        scale: Scale = 30.0,
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

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The true speakers' cosines (N, 1) -> these less the margin (N, 1)."""
        return cosine - self.margin

    def with_penalty(self, cosine: Tensor) -> Tensor:
        """Cosines -> these and the penalty, of the same shape."""
        return cosine + self.inter_topk_penalty
