"""DeepSpeaker-pytorch's schedule: softmax plus triplet loss in the first epochs, then the triplet loss alone.

After Li et al. 2017 (arXiv:1705.02304, section 2.4 and 3.2: softmax pre-training).
"""

from typing import Annotated

import torch
from torch import Tensor

import runtime
from loss._classification import LinearClassifier
from loss._pairs import HardProb, HardRank, check_mining_options, choose_negatives, square_distances

SMALLEST_SQUARE = 1e-7  # of a distance: keeps the gradient of its root finite where embeddings coincide


class LossFunction(LinearClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,) of the softmax.

    The first utterance of each speaker is the anchor, the second the positive; negatives are the positives of
    other speakers. Distances are not squared and embeddings not normalised. The triplet loss is the mean over
    the triplets that violate the margin.
    """

    min_utterances = 2
    max_utterances = 2  # of the triplets; the softmax takes more, but only up to min_softmax_epoch
    normalize = True
    per_speaker = True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "distance that negatives should be further away"] = 0.1,
        hard_prob: HardProb = 0.5,
        hard_rank: HardRank = 10,
        min_softmax_epoch: Annotated[int, "last epoch whose loss includes the softmax"] = 2,
        loss_ratio: Annotated[float, "weight of the triplet loss where it is added to the softmax"] = 2.0,
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        check_mining_options(hard_prob, margin)
        if not loss_ratio > 0.0:
            raise ValueError(f"--loss_ratio must be positive, got {loss_ratio}")
        self.margin = margin
        self.hard_prob = hard_prob
        self.hard_rank = hard_rank
        self.min_softmax_epoch = min_softmax_epoch
        self.loss_ratio = loss_ratio
        self.epoch = 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the loss of this epoch, counted from 1."""
        self.epoch = epoch

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        softmax, accuracy = super().forward(embeddings, labels)
        triplet = self._triplet_loss(embeddings[:, 0], embeddings[:, 1])
        if self.epoch > self.min_softmax_epoch:
            return triplet + 0.0 * softmax, accuracy  # every parameter keeps a gradient
        return softmax + self.loss_ratio * triplet, accuracy

    def _triplet_loss(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """(S, D), (S, D) -> mean loss () of the triplets that violate the margin."""
        distances = square_distances(anchors, positives).clamp(min=SMALLEST_SQUARE).sqrt()  # (S, S)
        negatives = choose_negatives(distances.detach(), self.hard_prob, self.hard_rank, self.margin)
        negative = distances.gather(1, negatives[:, None])[:, 0]
        violations = torch.relu(distances.diagonal() - negative + self.margin)
        return violations.sum() / (violations > 0.0).sum().clamp(min=1)
