"""Draws speakers in proportion to their errors in the epoch before; in the first epoch equally often."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """As many batches as `random`. Needs a loss that returns the accuracy of each speaker."""

    needs_accuracy = True

    def __init__(
        self,
        labels: NDArray[np.int64],
        batch_size: int,
        per_speaker: int,
        max_per_speaker: int,
        seed: int,
        durations: NDArray[np.int64] | None = None,
        *,
        least_weight: Annotated[
            float, "weight of a speaker without errors, relative to one with only errors"
        ] = 0.1,
    ) -> None:
        super().__init__(labels, batch_size, per_speaker, max_per_speaker, seed, durations)
        if not 0.0 < least_weight <= 1.0:
            raise ValueError(f"--least_weight must be in (0, 1], got {least_weight}")
        self.least_weight = least_weight
        self.errors = np.ones(len(self.tuples))

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        return self.apportion(np.maximum(self.errors, self.least_weight), generator)

    def set_accuracy(self, accuracy: NDArray[np.float64]) -> None:
        """Accuracy (speakers,) of the last epoch in [0, 1], NaN for those that weren't drawn."""
        self.errors = np.where(np.isnan(accuracy), self.errors, 1.0 - accuracy)

    def state_dict(self) -> dict[str, Any]:
        """-> the errors of each speaker."""
        return {"errors": self.errors.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what state_dict returned."""
        self.errors = np.array(state["errors"])
