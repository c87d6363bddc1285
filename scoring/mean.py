"""The cosine of mean embeddings of windows, which are cut out of the features as in DeepSpeaker-pytorch.

The features of the whole recording are computed, and normalised, before windows are cut out of them. A score
ranks trials as the Euclidean distance of the length-normalised means does. DeepSpeaker-pytorch takes windows
at random and averages the distances of pairs of them; here they are evenly spread, so that scores are
reproducible.
"""

from torch import Tensor
from torch.nn import functional as F

from audio.evaluation_crops import repeated
from audio.recording import Audio
from scoring._crops import VectorScoring, Windows


class Scoring(VectorScoring):
    """The cosine is the dot product of the length-normalised means."""

    version = 2  # version 1 cut windows out of the waveform, and each was normalised alone

    def __init__(self, length: int, num_crops: int) -> None:
        """Length of a window in samples, 0 for whole recordings, and number of windows."""
        super().__init__(length, num_crops)
        self.windows = Windows(length, num_crops) if length else None

    def crops(self, audio: Audio) -> list[Audio]:
        """Audio (T,) -> the whole recording (1, T), repeated if it is shorter than a window."""
        return [repeated(audio, self.length)[None]] if self.windows else super().crops(audio)

    def summarise(self, embeddings: list[Tensor], normalize: bool) -> Tensor:
        """Embeddings [(n, K, D)] of the windows -> their length-normalised means (n, 1, D)."""
        return F.normalize(embeddings[0].mean(dim=-2, keepdim=True), dim=-1)
