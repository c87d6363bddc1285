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


def draw_classes(
    num_classes: int, fraction: float, targets: Tensor, is_present: Tensor | None = None
) -> Tensor:
    """Targets (N,) -> classes (K,), sorted: the targets, and random others, K = fraction * num_classes.

    K is larger if there are more targets.

    Args:
        num_classes: from which they are drawn.
        fraction: of them.
        targets: all different if is_present is None.
        is_present: (N,) which targets count; None: all.
    """
    count = max(1, math.ceil(fraction * num_classes - 1e-9))  # 1e-9: a rounding error must not add a class
    present = torch.ones_like(targets) if is_present is None else is_present.to(targets.dtype)
    is_target = targets.new_zeros(num_classes).index_add(0, targets, present) > 0
    if count < (most := min(len(targets), num_classes)):
        # fewer than the speakers of the batch; to know how many of these a process has, the host waits
        count = max(count, most if is_present is None else int(is_target.sum()))
    order = torch.randperm(num_classes, device=targets.device)
    order = torch.where(is_target, order - num_classes, order)  # before all others
    return order.argsort()[:count].sort().values


class LinearClassifier(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> cross-entropy over the training speakers (), accuracy (S,)."""

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.fc = nn.Linear(embedding_dim, num_speakers)

    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        utterances, targets = per_utterance(embeddings, labels)
        return classify(self.fc(utterances), targets, len(labels))
