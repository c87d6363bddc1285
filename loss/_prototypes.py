"""Losses that compare the utterances of a batch by a scaled cosine: the scale, and angular prototypes."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime
from loss._classification import classify

InitialW = Annotated[float, "initial scale w of the cosine; learned"]
InitialB = Annotated[float, "initial offset b; learned"]
SMALLEST_W = 1e-6  # w must stay positive: a negative one would reward dissimilarity


class ScaledCosine(nn.Module):
    """Cosines -> logits w cos + b, w and b learned, w > 0 (Wan et al. 2018, arXiv:1710.10467, eq. 5)."""

    min_utterances = 2
    normalize = True
    per_speaker = True

    def __init__(self, init_w: float, init_b: float) -> None:
        super().__init__()
        if not init_w > 0.0:
            raise ValueError(f"--init_w must be positive, got {init_w}")
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    def logits(self, cosines: Tensor) -> Tensor:
        """Cosines -> logits. A w below its bound still gets its gradient, so that it can rise again."""
        w = self.w.clamp(min=SMALLEST_W).detach() + (self.w - self.w.detach())
        return w * cosines + self.b


class AngularPrototypes(ScaledCosine):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,) of the queries.

    The first utterance of each speaker is the query, the mean of the others the prototype. Each query is
    classified among the prototypes of the batch by w cos + b. The values of the labels don't matter: each row
    is another speaker.
    """

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        queries = F.normalize(embeddings[:, 0])  # (S, D)
        prototypes = F.normalize(embeddings[:, 1:].mean(dim=1))  # (S, D)
        targets = torch.arange(len(labels), device=labels.device)
        return classify(self.logits(queries @ prototypes.T), targets, len(labels))
