"""Draws every utterance once in an epoch, in random order (voxceleb_trainer's rules)."""

import numpy as np
from numpy.typing import NDArray

from sampler._batches import SpeakerBatches


class Sampler(SpeakerBatches):
    """Leaves out only utterances that don't fit because the speakers of a batch must differ."""

    def draws(self, generator: np.random.Generator) -> NDArray[np.int64]:
        """Generator -> tuples of each speaker in this epoch (speakers,)."""
        most = np.minimum(self.tuples, self.num_batches)
        speakers = np.repeat(np.arange(len(most)), most)
        surplus = len(speakers) - self.num_batches * self.batch_size
        speakers = np.delete(speakers, generator.permutation(len(speakers))[:surplus])
        return np.bincount(speakers, minlength=len(most))
