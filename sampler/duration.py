"""Draws speakers in proportion to the total length of their recordings."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """As many batches as `random`. Needs a pack, which holds the lengths."""

    needs_durations = True

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        samples = np.bincount(self.labels, self.durations, minlength=len(self.tuples)).astype(float)
        return self.apportion(samples, generator)
