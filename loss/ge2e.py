"""Generalised end-to-end loss, softmax variant (Wan et al. 2018, arXiv:1710.10467, eq. 5, 6, 8, 9)."""

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from loss._classification import classify
from loss._prototypes import InitialB, InitialW, ScaledCosine

SMALLEST_COSINE = 1e-6  # as in voxceleb_trainer: speakers at over 90 degrees count as unlike, not as opposite


class LossFunction(ScaledCosine):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,).

    Every utterance is classified among the speakers of the batch. A speaker is the mean of its utterances,
    for its own utterances without the one that is classified. Cosines below 1e-6 are set to 1e-6, as in
    voxceleb_trainer and unlike the paper, and have no gradient. The values of the labels don't matter: each
    row is another speaker.
    """

    def __init__(
        self, embedding_dim: int, num_speakers: int, *, init_w: InitialW = 10.0, init_b: InitialB = -5.0
    ) -> None:
        super().__init__(init_w, init_b)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        sums = embeddings.sum(dim=1)  # (S, D)
        sums_of_others = sums[:, None] - embeddings  # (S, M, D), M - 1 times their mean
        utterances = F.normalize(embeddings, dim=2)
        cosines = utterances.flatten(0, 1) @ F.normalize(sums).T  # (S*M, S)
        target_cosines = (utterances * F.normalize(sums_of_others, dim=2)).sum(dim=2)  # (S, M)
        speakers = torch.arange(len(labels), device=labels.device)
        targets = speakers.repeat_interleave(embeddings.shape[1])  # (S*M,)
        cosines = cosines.scatter(1, targets[:, None], target_cosines.flatten()[:, None])
        return classify(self.logits(cosines.clamp(min=SMALLEST_COSINE)), targets, len(labels))
