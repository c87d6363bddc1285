"""Softmax cross-entropy over the training speakers, one linear layer with bias."""

from torch import Tensor

import runtime
from loss._head import LinearClassifier


class LossFunction(LinearClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    min_utterances, normalize, per_speaker = 1, True, True

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(embeddings, labels)
