"""Training batches of noise, split over the ranks as the samplers split theirs."""

import torch

import distributed
from DatasetLoader import TrainBatch

SPEAKERS, UTTERANCES, SAMPLES, CLASSES = 6, 2, 4_000, 7


class Batches:
    """A loader of this rank's speakers of batches that are the same for any world size."""

    def __init__(self, num_batches=20):
        self.num_batches = num_batches

    def __iter__(self):
        rank, world_size = distributed.rank(), distributed.world_size()
        speakers = slice(rank * SPEAKERS // world_size, (rank + 1) * SPEAKERS // world_size)
        for step in range(self.num_batches):
            generator = torch.Generator().manual_seed(step)
            crops = torch.randn(SPEAKERS, UTTERANCES, SAMPLES, generator=generator)[speakers]
            labels = torch.randperm(CLASSES, generator=generator)[:SPEAKERS][speakers]
            masks = torch.zeros(len(crops) * UTTERANCES, 2, 2)
            yield TrainBatch(0.1 * crops, labels, masks, [], torch.zeros(1))

    def __len__(self):
        return self.num_batches
