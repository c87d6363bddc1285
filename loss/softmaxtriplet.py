"""DeepSpeaker-pytorch's schedule: softmax plus triplet loss first, the triplet loss alone later.

After Li et al. 2017 (arXiv:1705.02304, section 2.4 and 3.2: softmax pre-training).
"""

from typing import Annotated

import torch
from torch import Tensor

import runtime
from loss._head import LinearClassifier
from loss._pairs import HardProb, HardRank, check_mining, choose_negatives, square_distances

SMALLEST_SQUARE = 1e-7  # of a distance: its root's gradient stays finite where embeddings coincide


class LossFunction(LinearClassifier):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,) of the softmax.

    The first utterance of each speaker is the anchor, the second the positive; negatives are the
    positives of others. Distances are not squared, between the embeddings as they are; the mean is over the
    triplets that don't keep the margin.
    """

    min_utterances, normalize, per_speaker = 2, True, True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        margin: Annotated[float, "distance that negatives should be further away"] = 0.1,
        hard_prob: HardProb = 0.5,
        hard_rank: HardRank = 10,
        min_softmax_epoch: Annotated[int, "last epoch whose loss has the softmax in it"] = 2,
        loss_ratio: Annotated[float, "weight of the triplet loss beside the softmax"] = 2.0,
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        check_mining(hard_prob, margin)
        if not loss_ratio > 0.0:
            raise ValueError(f"--loss_ratio must be positive, got {loss_ratio}")
        self.margin, self.hard_prob, self.hard_rank = margin, hard_prob, hard_rank
        self.min_softmax_epoch, self.loss_ratio, self.epoch = min_softmax_epoch, loss_ratio, 1

    def set_epoch(self, epoch: int) -> None:
        """Choose the loss of this epoch, counted from 1."""
        self.epoch = epoch

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        softmax, accuracy = super().forward(embeddings, labels)
        triplet = self._triplet(embeddings[:, 0], embeddings[:, 1])
        if self.epoch > self.min_softmax_epoch:
            return triplet + 0.0 * softmax, accuracy  # every parameter keeps a gradient
        return softmax + self.loss_ratio * triplet, accuracy

    def _triplet(self, anchors: Tensor, positives: Tensor) -> Tensor:
        """(S, D), (S, D) -> mean loss () of the triplets that don't keep the margin."""
        distances = square_distances(anchors, positives).clamp(min=SMALLEST_SQUARE).sqrt()  # (S, S)
        chosen = choose_negatives(distances.detach(), self.hard_prob, self.hard_rank, self.margin)
        negative = distances.gather(1, chosen[:, None])[:, 0]
        short = torch.relu(distances.diagonal() - negative + self.margin)
        return short.sum() / (short > 0.0).sum().clamp(min=1)
