"""Averages of models' weights (Izmailov et al. 2018, arXiv:1803.05407, sections 3.1 and 3.2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

MAX_BATCHES = 200  # the error of statistics over so many is far below that of one batch's


def average(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Weights of several models by name -> their means; integer tensors are those of the last model."""
    averaged = dict[str, Tensor]()
    for name, tensor in weights[-1].items():
        averaged[name] = tensor
        if tensor.is_floating_point():
            values = torch.stack([each[name].double() for each in weights])
            averaged[name] = values.mean(0).to(tensor.dtype)
    return averaged


def update_batchnorm(
    network: Any, loader: Iterable[Any], device: torch.device, check: Callable[[], None]
) -> None:
    """Compute batch norm's running statistics from training data; they can't be averaged over models.

    Args:
        network: has a method embed, waveforms (B, T) -> embeddings (B, D).
        loader: yields training batches; the first MAX_BATCHES are used.
        device: where the network is.
        check: called before each batch; raises an error to stop.
    """

    def crops() -> Iterator[Tensor]:
        for batch in islice(loader, MAX_BATCHES):
            check()
            if isinstance(batch, Exception):
                raise batch
            yield batch.moved(device).finished().crops.flatten(0, 1)  # (S, M, T) -> (S*M, T)

    update_bn(crops(), _Embedding(network))


class _Embedding(nn.Module):
    """The network as the module that update_bn calls: one argument, the waveforms."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, T) -> (B, D)."""
        embeddings: Tensor = self.network.embed(waveforms)
        return embeddings
