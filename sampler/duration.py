"""Speakers as often as they have speech: in proportion to the length of all their recordings."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches, apportion


class Sampler(SpeakerBatches):
    """As many batches as with random."""

    needs_durations = True

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        samples = np.bincount(self.labels, self.durations, minlength=len(self.tuples)).astype(float)
        return apportion(
            samples * (self.tuples > 0), self.num_batches * self.batch_size, self.num_batches, generator
        )
