"""Contrastive loss with hard negatives from the batch (Hadsell et al. 2006, eq. 4)."""

from typing import Annotated

import torch
from torch import Tensor

import runtime
from loss._pairs import HardProb, HardRank, MinedPairs, equal_error_rate

SMALLEST_SQUARE = 1e-12  # of a distance: keeps the gradient of its root finite where embeddings coincide


class LossFunction(MinedPairs):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), equal error rate () of the pairs.

    The first two utterances of each speaker are a positive pair; negative pairs are the first and the
    second utterance of different speakers. Distances are between length-normalised embeddings.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "distance that negative pairs should have"] = 0.1,
        hard_prob: HardProb = 0.5,
        hard_rank: HardRank = 10,
    ) -> None:
        super().__init__(margin, hard_prob, hard_rank)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        positive, negative = self.square_distances(embeddings)
        shortfall = torch.relu(self.margin - negative.clamp(min=SMALLEST_SQUARE).sqrt())
        return torch.cat([positive, shortfall.square()]).mean(), equal_error_rate(-positive, -negative)
