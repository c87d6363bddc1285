"""Softmax cross-entropy over the training speakers, one linear layer with bias."""

from torch import Tensor, nn
from torch.nn import functional as F

from loss._head import ClassHead, SampleClasses


class LossFunction(ClassHead):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,)."""

    per_class = ("fc.weight", "fc.bias")

    def __init__(self, embedding_dim: int, num_speakers: int, *, sample_classes: SampleClasses = 1.0) -> None:
        super().__init__(num_speakers, sample_classes)
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def similarities(self, utterances: Tensor, classes: Tensor | None) -> Tensor:
        """Utterances (N, D), classes (K,) or None for all -> logits (N, K)."""
        if classes is None:
            return self.fc(utterances)
        weight = self.fc.weight.index_select(0, classes)
        return F.linear(utterances, weight, self.fc.bias.index_select(0, classes))
