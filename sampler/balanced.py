"""Every speaker equally often, however many utterances there are of each."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """As many batches as with random; the utterances of small speakers come several times an epoch."""

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        return self.share(np.ones(len(self.tuples)), generator)
