"""What the losses of classes share: classification, a linear classifier, margins, angular prototypes."""

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Scale = Annotated[float, "logit = scale * cosine"]
InitialW = Annotated[float, "initial scale w of the cosine; learned"]
InitialB = Annotated[float, "initial offset b; learned"]
SMALLEST_W = 1e-6  # w must stay positive: a negative one would reward dissimilarity


def classify(logits: Tensor, targets: Tensor, num_speakers: int) -> tuple[Tensor, Tensor]:
    """Logits (S*M, K), targets (S*M,) -> mean cross-entropy (), top-1 accuracy (S,) of each speaker."""
    correct = (logits.detach().argmax(dim=1) == targets).float()
    return F.cross_entropy(logits, targets), correct.unflatten(0, (num_speakers, -1)).mean(dim=1)


def per_utterance(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (S, M, D), labels (S,) -> (S*M, D), (S*M,): every utterance on its own."""
    return embeddings.flatten(0, 1), labels.repeat_interleave(embeddings.shape[1])


class LinearClassifier(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> cross-entropy over the training speakers (), accuracy (S,)."""

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        utterances, targets = per_utterance(embeddings, labels)
        return classify(self.fc(utterances), targets, len(labels))


class CosineClassifier(nn.Module):
    """A vector for each speaker, compared by its cosine; subclasses put a margin on it."""

    def __init__(self, embedding_dim: int, num_speakers: int, margin: float, scale: float) -> None:
        super().__init__()
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"--margin must lie in [0, 1), got {margin}")
        if not scale > 0.0:
            raise ValueError(f"--scale must be positive, got {scale}")
        self.margin, self.scale = margin, scale
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(num_speakers, embedding_dim)))

    def cosines(self, utterances: Tensor) -> Tensor:
        """(N, D) -> (N, num_speakers)."""
        return F.linear(F.normalize(utterances), F.normalize(self.weight))


class ScaledCosine(nn.Module):
    """Cosines -> logits w cos + b, w and b learned, w > 0 (Wan et al. 2018, arXiv:1710.10467, eq. 5)."""

    def __init__(self, init_w: float, init_b: float) -> None:
        super().__init__()
        if not init_w > 0.0:
            raise ValueError(f"--init_w must be positive, got {init_w}")
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    def logits(self, cosines: Tensor) -> Tensor:
        """Below its bound w still gets its gradient, so that it can come back."""
        w = self.w.clamp(min=SMALLEST_W).detach() + (self.w - self.w.detach())
        return w * cosines + self.b


class AngularPrototypes(ScaledCosine):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,).

    The first utterance of each speaker is the query, the mean of the others the prototype; each query
    is classified among the batch's prototypes by w cos + b. Labels only tell the speakers apart.
    """

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        queries = F.normalize(embeddings[:, 0])  # (S, D)
        prototypes = F.normalize(embeddings[:, 1:].mean(dim=1))  # (S, D)
        own = torch.arange(len(labels), device=labels.device)
        return classify(self.logits(queries @ prototypes.T), own, len(labels))
