"""Angular prototypical loss (Chung et al. 2020, arXiv:2003.11982, section 2.2, eq. 6 and 8)."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from loss._head import cross_entropy

SMALLEST_W = 1e-6  # w must stay positive: a negative one would reward dissimilarity


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy () in [0, 1].

    The first utterance of each speaker is the query, the mean of the others the prototype; each query
    is classified among the batch's prototypes by w cos + b. Labels only tell the speakers apart.
    """

    min_utterances, normalize = 2, True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        init_w: Annotated[float, "initial scale w of the cosine; learned"] = 10.0,
        init_b: Annotated[float, "initial offset b; learned"] = -5.0,
    ) -> None:
        super().__init__()
        if not init_w > 0.0:
            raise ValueError(f"--init_w must be positive, got {init_w}")
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        queries = F.normalize(embeddings[:, 0])  # (S, D)
        prototypes = F.normalize(embeddings[:, 1:].mean(dim=1))  # (S, D)
        logits = self.w.clamp(min=SMALLEST_W) * (queries @ prototypes.T) + self.b  # (S, S)
        return cross_entropy(logits, torch.arange(len(labels), device=labels.device))
