"""The mean cosine over all pairs of crops."""

from torch import Tensor
from torch.nn import functional as F

from scoring._crops import DotProduct


class Scoring(DotProduct):
    """Mean cosine of all crop pairs, by one product: that of the mean length-normalised embeddings."""

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings of the crops [(n, K, D)] -> mean of the length-normalised ones (n, 1, D)."""
        return F.normalize(embeddings[0], dim=-1).mean(dim=-2, keepdim=True)
