"""Adagrad (Duchi et al. 2011), as in DeepSpeaker-pytorch: each weight's rate falls with its gradients."""

from typing import Annotated

from torch import optim
from torch.optim.optimizer import ParamsT


def Optimizer(
    parameters: ParamsT,
    *,
    lr: Annotated[float, "learning rate"] = 0.001,
    weight_decay: Annotated[float, "L2 penalty on every parameter"] = 0.0,
    rate_decay: Annotated[float, "the rate of step k is lr / (1 + k * rate_decay)"] = 0.0,
) -> optim.Optimizer:
    """Parameter groups -> Adagrad over them."""
    return optim.Adagrad(parameters, lr=lr, lr_decay=rate_decay, weight_decay=weight_decay)
