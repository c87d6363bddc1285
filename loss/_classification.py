"""Classification of utterances by speaker: cross-entropy, accuracy, a linear classifier, sampled classes."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def classify(logits: Tensor, targets: Tensor, num_speakers: int) -> tuple[Tensor, Tensor]:
    """Logits (S*M, K), targets (S*M,) -> mean cross-entropy (), top-1 accuracy (S,) of each speaker."""
    correct = (logits.detach().argmax(dim=1) == targets).float()
    return F.cross_entropy(logits, targets), correct.unflatten(0, (num_speakers, -1)).mean(dim=1)


def per_utterance(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (S, M, D), labels (S,) of the speakers -> (S*M, D), (S*M,) of the utterances."""
    return embeddings.flatten(0, 1), labels.repeat_interleave(embeddings.shape[1])


def draw_classes(num_classes: int, fraction: float, targets: Tensor) -> Tensor:
    """Targets (N,) -> classes (K,), sorted: the targets, and random others, K = fraction * num_classes."""
    count = max(1, math.ceil(fraction * num_classes - 1e-9))  # 1e-9: a rounding error must not add a class
    if count < min(len(targets), num_classes):
        count = max(count, len(targets.unique()))
    order = torch.randperm(num_classes, device=targets.device)
    order[targets] = order[targets] - num_classes  # before all others
    return order.argsort()[:count].sort().values


class LinearClassifier(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> cross-entropy over the training speakers (), accuracy (S,)."""

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        utterances, targets = per_utterance(embeddings, labels)
        return classify(self.fc(utterances), targets, len(labels))
