"""Generalised end-to-end loss, softmax variant (Wan et al. 2018, arXiv:1710.10467, eq. 5, 6, 8, 9)."""

import torch
from torch import Tensor
from torch.nn import functional as F

import runtime
from loss._head import InitialB, InitialW, ScaledCosine, classify

SMALLEST_COSINE = 1e-6  # voxceleb_trainer's: speakers on the other side count as unlike, not as opposite


class LossFunction(ScaledCosine):
    """Embeddings (S, M, D), labels (S,) -> mean loss (), top-1 accuracy (S,).

    Every utterance is classified among the batch's speakers, each the mean of its utterances; the own
    mean leaves the utterance out. Cosines below 1e-6 count as 1e-6, as in voxceleb_trainer and unlike the
    paper; they have no gradient. Labels only tell the speakers apart.
    """

    min_utterances, normalize, per_speaker = 2, True, True

    def __init__(
        self, embedding_dim: int, num_speakers: int, *, init_w: InitialW = 10.0, init_b: InitialB = -5.0
    ) -> None:
        super().__init__(init_w, init_b)

    @runtime.float32
    def forward(self, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        total = embeddings.sum(dim=1)  # (S, D)
        others = total[:, None] - embeddings  # (S, M, D), as long as M - 1 means
        utterances = F.normalize(embeddings, dim=2)
        cosines = utterances.flatten(0, 1) @ F.normalize(total).T  # (S*M, S)
        own = (utterances * F.normalize(others, dim=2)).sum(dim=2)  # (S, M)
        speakers = torch.arange(len(labels), device=labels.device)
        targets = speakers.repeat_interleave(embeddings.shape[1])  # (S*M,)
        cosines = cosines.scatter(1, targets[:, None], own.flatten()[:, None])
        return classify(self.logits(cosines.clamp(min=SMALLEST_COSINE)), targets, len(labels))
