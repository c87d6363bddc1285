"""The mean cosine over all pairs of an enrolment crop and a test crop."""

from torch import Tensor
from torch.nn import functional as F

from scoring._crops import VectorScoring


class Scoring(VectorScoring):
    """The mean cosine is the dot product of the means of the length-normalised embeddings."""

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings [(n, K, D)] of the crops -> means of the length-normalised ones (n, 1, D)."""
        return F.normalize(embeddings[0], dim=-1).mean(dim=-2, keepdim=True)
