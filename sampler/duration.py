"""Speakers as often as they have speech: in proportion to the length of all their recordings."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """As many batches as with random."""

    needs_durations = True

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        samples = np.bincount(self.labels, self.durations, minlength=len(self.tuples)).astype(float)
        return self.share(samples, generator)
