"""Minus the mean Euclidean distance over all pairs of crops, as voxceleb_trainer scores."""

import torch
from torch import Tensor
from torch.nn import functional as F

from scoring._crops import CropScoring


class Scoring(CropScoring):
    """Embeddings are length-normalised only if the loss asks for it."""

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings [(n, K, D)] of the crops -> all of them (n, K, D); of whole recordings one (n, 1, D)."""
        vectors = F.normalize(embeddings[0], dim=-1) if normalize else embeddings[0]
        return vectors if self.length else vectors.mean(dim=1, keepdim=True)  # of the parts of long ones

    def score(self, enrol: Tensor, test: Tensor) -> Tensor:
        """Summaries (N, K, D), (N, K, D) -> scores (N,)."""
        enrol_squares = torch.linalg.vector_norm(enrol, dim=2).square()  # (N, K)
        test_squares = torch.linalg.vector_norm(test, dim=2).square()
        squares = enrol_squares[:, :, None] + test_squares[:, None, :]
        squared = torch.baddbmm(
            squares, enrol, test.transpose(1, 2), alpha=-2.0
        )  # (N, K, K), |a|^2 + |b|^2 - 2ab
        return -squared.clamp(min=0.0).sqrt().mean(dim=(1, 2))
