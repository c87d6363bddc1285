"""The cosine of mean embeddings: how DeepSpeaker-pytorch averages windows.

Its order is that of the Euclidean distance of the length-normalised means. DeepSpeaker-pytorch takes 8
windows in random places; here they are spread evenly, so that a score doesn't depend on a draw.
"""

from torch import Tensor
from torch.nn import functional as F

from scoring._crops import DotProduct


class Scoring(DotProduct):
    """Cosine of the mean embeddings of both sides' crops."""

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings of the crops [(n, K, D)] -> their length-normalised mean (n, 1, D)."""
        return F.normalize(embeddings[0].mean(dim=-2, keepdim=True), dim=-1)
