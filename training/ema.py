"""Exponential moving average of weights (Tarvainen and Valpola 2017, arXiv:1703.01780, eq. 4)."""

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


class MovingAverage:
    """A copy of a network that follows its weights and its batch norm's running figures.

    After the first step it is the network, then decay * copy + (1 - decay) * network after each. It never
    waits for the device, unlike PyTorch's AveragedModel.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module: Any = deepcopy(network).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0
        self._own, self._followed = _numbers(self.module), _numbers(network)

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the network's optimizer."""
        share = 1.0 - self.decay if self.steps else 1.0
        torch._foreach_lerp_(self._own, self._followed, share)
        self.steps += 1


def _numbers(network: nn.Module) -> list[Tensor]:
    tensors = chain(network.parameters(), network.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
