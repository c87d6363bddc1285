"""Softmax over the speakers plus angular prototypical loss (Heo et al. 2020, arXiv:2009.14153)."""

from torch import Tensor, nn

import runtime
from loss._classification import LinearClassifier
from loss._prototypes import AngularPrototypes, InitialB, InitialW


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> sum of both losses (), top-1 accuracy (S,) of the softmax."""

    min_utterances = 2
    normalize = True
    per_speaker = True

    def __init__(
        self, embedding_dim: int, num_speakers: int, *, init_w: InitialW = 10.0, init_b: InitialB = -5.0
    ) -> None:
        super().__init__()
        self.softmax = LinearClassifier(embedding_dim, num_speakers)
        self.angleproto = AngularPrototypes(init_w, init_b)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        softmax, accuracy = self.softmax(embeddings, labels)
        angleproto, _ = self.angleproto(embeddings, labels)
        return softmax + angleproto, accuracy
