"""Draws every speaker equally often, however many utterances it has."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """As many batches as `random`; utterances of small speakers occur several times in an epoch."""

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        return self.apportion(np.ones(len(self.tuples)), generator)
