"""Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

from collections.abc import Iterable
from typing import Annotated

from torch import nn, optim


def Optimizer(
    parameters: Iterable[nn.Parameter],
    *,
    lr: Annotated[float, "learning rate"] = 0.001,
    weight_decay: Annotated[float, "L2 penalty on every parameter"] = 0.0,
    momentum: Annotated[float, "share of the last step kept in the next"] = 0.9,
) -> optim.Optimizer:
    """Parameters -> SGD over them."""
    return optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum)
