"""Every utterance once an epoch, speakers as often as they have utterances (voxceleb_trainer's rules)."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """Leaves out only what distinct speakers in every batch make impossible to place."""

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        most = np.minimum(self.tuples, self.num_batches)
        speakers = np.repeat(np.arange(len(most)), most)
        surplus = len(speakers) - self.num_batches * self.batch_size
        speakers = np.delete(speakers, generator.permutation(len(speakers))[:surplus])
        return np.bincount(speakers, minlength=len(most))
