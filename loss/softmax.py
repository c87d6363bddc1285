"""Softmax cross-entropy over the training speakers, one linear layer with bias."""

from torch import Tensor, nn

import runtime
from loss._head import cross_entropy, per_utterance


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy () in [0, 1]."""

    min_utterances, normalize = 1, True

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embedding_dim, num_speakers)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, labels = per_utterance(embeddings, labels)
        return cross_entropy(self.fc(embeddings), labels)
