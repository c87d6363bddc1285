"""Stochastic gradient descent with momentum, also Nesterov's (Sutskever et al. 2013)."""

from typing import Annotated

import torch
from torch import optim
from torch.optim.optimizer import ParamsT

ADDED = ("nesterov",)


def Optimizer(
    parameters: ParamsT,
    *,
    lr: Annotated[float, "learning rate"] = 0.001,
    weight_decay: Annotated[float, "L2 penalty on every parameter"] = 0.0,
    momentum: Annotated[float, "fraction of the last step that is added to the next"] = 0.9,
    nesterov: Annotated[bool, "take the gradient as if the momentum had moved the weights already"] = False,
) -> optim.Optimizer:
    """Parameter groups -> SGD over them."""
    if nesterov and not momentum > 0.0:
        raise ValueError(f"--nesterov needs a --momentum above 0, got {momentum}")
    optimizer = optim.SGD(
        parameters,
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        nesterov=nesterov,
        fused=True,  # one pass over the weights instead of one for each operation, as in adam.py
    )
    if momentum:
        # PyTorch allocates them in the first step and leaves them uninitialised if fp16 overflows in it
        for group in optimizer.param_groups:
            for weight in group["params"]:
                optimizer.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return optimizer
