"""The average of the cosine of whole recordings and the mean cosine of crops (TaoRuijie's ECAPA-TDNN)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from audio.evaluation_crops import evaluation_crops
from audio.recording import Audio
from scoring._crops import VectorScoring


class Scoring(VectorScoring):
    """(cosine of the whole recordings + mean cosine of all pairs of crops) / 2, as one dot product."""

    def __init__(self, length: int, num_crops: int) -> None:
        """Length of a crop in samples, not 0, and number of crops; TaoRuijie's are 3 s and 5."""
        super().__init__(length, num_crops)
        if length == 0:
            raise ValueError(
                "--scoring full_and_crops also scores crops: --eval_frames must not be 0; 300 is 3 s"
            )

    def crops(self, audio: Audio) -> list[Audio]:
        """Audio (T,) -> the whole (1, T), and its crops (K, length)."""
        return [evaluation_crops(audio, 0, 1), *super().crops(audio)]

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings [(n, 1, D), (n, K, D)] of recordings and crops -> their concatenated vectors (n, 1, 2D).

        The dot product of two such vectors is the sum of those of the halves; dividing by the root of 2
        halves it.
        """
        halves = [F.normalize(group, dim=-1).mean(dim=-2, keepdim=True) for group in embeddings]
        return torch.cat(halves, dim=-1) / 2.0**0.5
