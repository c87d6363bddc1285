"""AM-Softmax: softmax over cosines with an additive margin (Wang et al. 2018, arXiv:1801.05599, eq. 6)."""

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

import runtime
from loss._head import CosineClassifier, Scale, classify, per_utterance


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
    ) -> None:
        super().__init__(embedding_dim, num_speakers, margin, scale)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        utterances, targets = per_utterance(embeddings, labels)
        cosines = self.cosines(utterances)  # (S*M, num_speakers)
        logits = self.scale * (cosines - self.margin * F.one_hot(targets, cosines.shape[1]))
        return classify(logits, targets, len(labels))
