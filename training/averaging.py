"""Averages of models' weights (Izmailov et al. 2018, arXiv:1803.05407, sections 3.1 and 3.2)."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

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


@torch.no_grad()
def update_batchnorm(
    network: Any, loader: Iterable[Any], device: torch.device, check: Callable[[], None]
) -> None:
    """Compute batch norm's running statistics from training data; they can't be averaged over models.

    Args:
        network: in the mode in which it is trained; batch norm that is in evaluation mode is frozen and keeps
            its statistics. It has a method embed, waveforms (B, T) -> embeddings (B, D).
        loader: yields training batches; the first MAX_BATCHES are used.
        device: where the network is.
        check: called before each batch; raises an error to stop.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.training]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    for batch in islice(loader, MAX_BATCHES):
        check()
        if isinstance(batch, Exception):
            raise batch
        network.embed(batch.moved(device).finished().crops.flatten(0, 1))  # (S, M, T) -> (S*M, T)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
