"""AM-Softmax: softmax over cosines with an additive margin (Wang et al. 2018, arXiv:1801.05599, eq. 6)."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from loss._head import cross_entropy, per_utterance


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy () in [0, 1]."""

    min_utterances, normalize = 1, True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "cosine taken off the true speaker"] = 0.1,
        scale: Annotated[float, "logit = scale * cosine"] = 30.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"--margin must lie in [0, 1), got {margin}")
        if not scale > 0.0:
            raise ValueError(f"--scale must be positive, got {scale}")
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_speakers, embedding_dim)))

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        embeddings, labels = per_utterance(embeddings, labels)
        cosine = F.linear(F.normalize(embeddings), F.normalize(self.weight))  # (N, num_speakers)
        logits = self.scale * (cosine - self.margin * F.one_hot(labels, cosine.shape[1]))
        return cross_entropy(logits, labels)
