"""Distillation: embeddings that follow those of a larger network (Wang et al. 2019, ICASSP).

Knowledge distillation for small foot-print deep speaker embedding; its loss by the cosine. --teacher names
the larger network, whose mean embedding of each speaker is the target. Speakers needn't be known: in a train
list that names each recording as a speaker of its own, each recording has its own target.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import runtime


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> 1 - mean cosine to the targets (), accuracy in the batch (S,)."""

    min_utterances = 1
    normalize = True
    per_speaker = True
    needs_teacher = True
    targets: Tensor

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()
        self.register_buffer("targets", F.normalize(torch.randn(num_speakers, embedding_dim)))

    @torch.no_grad()
    def imprint(self, directions: Tensor, num_speakers: int, seed: int) -> None:
        """Take directions (S, D) of length 1 as the targets of speakers 0 to S - 1; zeros teach nothing."""
        assert len(self.targets) == num_speakers  # imprinted_heads refuses changed speeds
        self.targets.copy_(F.pad(directions, (0, 0, 0, num_speakers - len(directions))))

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        targets = self.targets.index_select(0, labels)  # (S, D)
        cosines = F.normalize(embeddings, dim=2) @ targets.T  # (S, M, S)
        accuracy = cosines.detach().argmax(dim=2) == torch.arange(len(labels), device=labels.device)[:, None]
        loss = 1.0 - cosines.diagonal(dim1=0, dim2=2).mean()
        return loss, accuracy.float().mean(dim=1)
