"""How well each training speaker is classified in an epoch, for samplers that learn from it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import distributed


class SpeakerTally:
    """Sums of accuracies by speaker; never read in the loop.

    Labels may run over the speakers several times, once for each speed.
    """

    def __init__(self, num_speakers: int, device: torch.device) -> None:
        self.sums = torch.zeros(2, num_speakers, device=device)  # of accuracies, of draws

    def add(self, labels: Tensor, accuracy: Tensor) -> None:
        """Labels (S,), accuracy (S,)."""
        counts = torch.stack([accuracy, torch.ones_like(accuracy)])
        self.sums.index_add_(1, labels % self.sums.shape[1], counts)

    def accuracy(self) -> NDArray[np.float64]:
        """Mean accuracy of each speaker over all processes (num_speakers,), NaN for those not drawn."""
        sums, draws = distributed.all_sum(self.sums).double().cpu()
        return np.asarray(sums / draws)
