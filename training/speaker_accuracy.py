"""Accuracy of each training speaker over an epoch, for samplers that draw speakers by it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import distributed


class SpeakerAccuracy:
    """Sums the accuracies of the batches by speaker, on the device.

    With speed perturbation that makes new speakers, labels number the speakers several times, once for each
    speed; these count as one speaker.
    """

    def __init__(self, num_speakers: int, device: torch.device) -> None:
        self.sums = torch.zeros(2, num_speakers, device=device)  # of accuracies, and how often each was drawn

    def add(self, labels: Tensor, accuracy: Tensor) -> None:
        """Add a batch: labels (S,), accuracy (S,)."""
        counts = torch.stack([accuracy, torch.ones_like(accuracy)])
        self.sums.index_add_(1, labels % self.sums.shape[1], counts)

    def means(self) -> NDArray[np.float64]:
        """-> mean accuracy of each speaker over all processes (num_speakers,), NaN for those not drawn."""
        sums, draws = distributed.all_reduce_sum(self.sums).double().cpu()
        return np.asarray(sums / draws)
