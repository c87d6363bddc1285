"""Triplet loss with hard negatives from the batch (Schroff et al. 2015, arXiv:1503.03832, eq. 3)."""

from typing import Annotated

import torch
from torch import Tensor

import runtime
from loss._pairs import HardProb, HardRank, MinedPairs, equal_error_rate


class LossFunction(MinedPairs):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), equal error rate () of the triplets' pairs.

    The first utterance of each speaker is the anchor, the second the positive; negatives are the positives of
    other speakers. Distances are squared, between length-normalised embeddings.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "squared distance that negatives should be further away"] = 0.1,
        hard_prob: HardProb = 0.5,
        hard_rank: HardRank = 10,
    ) -> None:
        super().__init__(margin, hard_prob, hard_rank)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = self.square_distances(embeddings)
        loss = torch.relu(positive - negative + self.margin).mean()
        return loss, equal_error_rate(-positive, -negative)
