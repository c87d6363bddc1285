"""What the losses share: classification over logits."""

from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K), targets (N,) -> mean cross-entropy (), top-1 accuracy () in [0, 1]."""
    accuracy = (logits.detach().argmax(dim=1) == targets).float().mean()
    return F.cross_entropy(logits, targets), accuracy


def per_utterance(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (S, M, D), labels (S,) -> (S*M, D), (S*M,): every utterance on its own."""
    return embeddings.flatten(0, 1), labels.repeat_interleave(embeddings.shape[1])
