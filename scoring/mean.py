"""The cosine of the mean embeddings of the crops, as DeepSpeaker-pytorch averages windows.

It ranks trials as the Euclidean distance of the length-normalised means does. DeepSpeaker-pytorch takes 8
windows at random; here they are evenly spread, so that scores are reproducible.
"""

from torch import Tensor
from torch.nn import functional as F

from scoring._crops import VectorScoring


class Scoring(VectorScoring):
    """The cosine is the dot product of the length-normalised means."""

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings [(n, K, D)] of the crops -> their length-normalised means (n, 1, D)."""
        return F.normalize(embeddings[0].mean(dim=-2, keepdim=True), dim=-1)
