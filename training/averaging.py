"""Averages of models' weights (Izmailov et al. 2018, arXiv:1803.05407, sections 3.1 and 3.2)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

MOST_BATCHES = 200  # that batch norm's figures are estimated from; their error is far below that of one batch


def average(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Weights by name, of several models -> their means; whole numbers are those of the last."""
    last = weights[-1]
    return {
        name: torch.stack([each[name].double() for each in weights]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in last.items()
    }


def estimate_figures(
    network: Any, loader: Iterable[Any], device: torch.device, check: Callable[[], None]
) -> None:
    """Set batch norm's running figures to those of the training data, which averaging can't give.

    network: with a method embed; loader: yields training batches; check: called before each.
    """

    def crops() -> Iterator[Tensor]:
        for number, batch in enumerate(loader):
            check()
            if number == MOST_BATCHES:
                return
            if isinstance(batch, Exception):
                raise batch
            yield batch.moved(device).finished().crops.flatten(0, 1)

    update_bn(crops(), _Embedding(network))


class _Embedding(nn.Module):
    """The network as update_bn wants it: a module that takes waveforms."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveforms: Tensor) -> Tensor:
        """(B, T) -> (B, D)."""
        embeddings: Tensor = self.network.embed(waveforms)
        return embeddings
