"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101): Adam with weight decay apart from the gradient."""

from typing import Annotated

from torch import optim
from torch.optim.optimizer import ParamsT


def Optimizer(
    parameters: ParamsT,
    *,
    lr: Annotated[float, "learning rate"] = 0.001,
    weight_decay: Annotated[float, "a step takes lr * weight_decay of every parameter off"] = 0.01,
) -> optim.Optimizer:
    """Parameter groups -> AdamW over them."""
    return optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)  # fused: see adam.py
