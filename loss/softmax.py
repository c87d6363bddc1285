"""Softmax cross-entropy over the training speakers, one linear layer with bias."""

from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from loss._head import ClassHead, SampleClasses


class LossFunction(ClassHead):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    min_utterances, normalize, per_speaker = 1, True, True
    per_class = ("fc.weight", "fc.bias")

    def __init__(self, embedding_dim: int, num_speakers: int, *, sample_classes: SampleClasses = 1.0) -> None:
        super().__init__(num_speakers, sample_classes)
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def compare(self, utterances: Tensor, drawn: Tensor | None) -> Tensor:
        """(N, D), own classes (K,) or all of them -> logits (N, K)."""
        if drawn is None:
            return self.fc(utterances)
        return F.linear(
            utterances, self.fc.weight.index_select(0, drawn), self.fc.bias.index_select(0, drawn)
        )

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(embeddings, labels)
