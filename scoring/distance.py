"""Minus the mean Euclidean distance over all pairs of crops, as voxceleb_trainer scores."""

import torch
from torch import Tensor
from torch.nn import functional as F

from scoring._crops import Cropping


class Scoring(Cropping):
    """Minus the mean distance of all crop pairs, length-normalised if the loss does so."""

    is_vector = False

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings of the crops [(n, K, D)] -> all of them (n, K, D)."""
        return F.normalize(embeddings[0], dim=-1) if normalize else embeddings[0]

    def score(self, enrol: Tensor, test: Tensor) -> Tensor:
        """Summaries (N, K, D), (N, K, D) -> scores (N,)."""
        norms = (torch.linalg.vector_norm(side, dim=2).square() for side in (enrol, test))  # (N, K) each
        squares = next(norms)[:, :, None] + next(norms)[:, None, :]
        squared = torch.baddbmm(squares, enrol, test.transpose(1, 2), alpha=-2.0)  # (N, K, K)
        return -squared.clamp(min=0.0).sqrt().mean(dim=(1, 2))
