"""AM-Softmax: softmax over cosines with an additive margin (Wang et al. 2018, arXiv:1801.05599, eq. 6)."""

from typing import Annotated

from torch import Tensor

from loss._head import CosineClassifier, SampleClasses, Scale, SubCenters


class LossFunction(CosineClassifier):
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
    ) -> None:
        super().__init__(
            embedding_dim,
            num_speakers,
            margin=margin,
            scale=scale,
            sample_classes=sample_classes,
            sub_centers=sub_centers,
        )

    def with_margin(self, cosine: Tensor) -> Tensor:
        """The true speakers' cosines (N, 1) -> these less the margin (N, 1)."""
        return cosine - self.margin
