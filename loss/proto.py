"""Prototypical loss (Snell et al. 2017, arXiv:1703.05175, eq. 1-2); an episode is the speakers of a batch."""

import torch
from torch import Tensor, nn

import runtime
from loss._classification import classify
from loss._pairs import square_distances


class LossFunction(nn.Module):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,) of the queries.

    The first utterance of each speaker is the query, the mean of the others the prototype; the logits are
    minus the squared distances. The values of the labels don't matter: each row is another speaker.
    """

    min_utterances = 2
    normalize = False
    per_speaker = True

    def __init__(self, embedding_dim: int, num_speakers: int) -> None:
        super().__init__()

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = -square_distances(embeddings[:, 0], embeddings[:, 1:].mean(dim=1))
        return classify(logits, torch.arange(len(labels), device=labels.device), len(labels))
