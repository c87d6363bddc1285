"""The cosine of whole recordings and the mean cosine of crops, averaged as in TaoRuijie's ECAPA-TDNN."""

import torch
from torch import Tensor
from torch.nn import functional as F

from audio.recording import Audio
from scoring._crops import DotProduct, evaluation_crops


class Scoring(DotProduct):
    """(cosine of the whole recordings + mean cosine of all crop pairs) / 2, by one product."""

    def __init__(self, length: int, num_crops: int) -> None:
        """Samples of a crop, not 0; how many crops (TaoRuijie's: 3 s, 5)."""
        super().__init__(length, num_crops)
        if length == 0:
            raise ValueError(
                "--scoring full_and_crops needs crops beside whole recordings: --eval_frames 300"
            )

    def crops(self, audio: Audio) -> list[Audio]:
        """Audio (T,) -> the whole (1, T), and its crops (K, length)."""
        return [evaluation_crops(audio, 0, 1), *super().crops(audio)]

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings of whole and crops [(n, 1, D), (n, K, D)] -> vectors of both, side by side (n, 1, 2D).

        The product of two such vectors is the sum of the halves' products; the root halves it.
        """
        halves = [F.normalize(part, dim=-1).mean(dim=-2, keepdim=True) for part in embeddings]
        return torch.cat(halves, dim=-1) / 2.0**0.5
