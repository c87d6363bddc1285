"""Exponential moving average of weights (Tarvainen and Valpola 2017, arXiv:1703.01780, eq. 4)."""

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """A copy (`module`) of a network in training, with averaged weights and running statistics.

    After the first step it is equal to that network, after each later step decay * average + (1 - decay) *
    network. Unlike PyTorch's AveragedModel it never waits for the device.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module: Any = deepcopy(network).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0
        self._averages = _floating_tensors(self.module)
        self._weights = _floating_tensors(network)

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights to the average; to be called after each optimizer step."""
        weight = 1.0 - self.decay if self.steps else 1.0
        torch._foreach_lerp_(self._averages, self._weights, weight)
        self.steps += 1


def _floating_tensors(network: nn.Module) -> list[Tensor]:
    tensors = chain(network.parameters(), network.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
