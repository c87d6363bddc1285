"""Softmax over the speakers plus angular prototypical loss (Heo et al. 2020, arXiv:2009.14153)."""

from torch import Tensor, nn

import runtime
from loss._head import AngularPrototypes, InitialB, InitialW, LinearClassifier


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> sum of both losses (), top-1 accuracy (S,) of the softmax."""

    min_utterances, normalize, per_speaker = 2, True, True

    def __init__(
        self, embedding_dim: int, num_speakers: int, *, init_w: InitialW = 10.0, init_b: InitialB = -5.0
    ) -> None:
        super().__init__()
        self.softmax = LinearClassifier(embedding_dim, num_speakers)
        self.angleproto = AngularPrototypes(init_w, init_b)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        classes, accuracy = self.softmax(embeddings, labels)
        return classes + self.angleproto(embeddings, labels)[0], accuracy
