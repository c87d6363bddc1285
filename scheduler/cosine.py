"""Linear warm-up, then half a cosine to a last rate (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

import math
from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scheduler._warmup import Warmup, WarmupEpochs, check_last_lr


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    warmup_epochs: WarmupEpochs = 0.0,
    last_lr: Annotated[float, "rate at the end, as a fraction of --lr"] = 0.0,
) -> LambdaLR:
    """Optimizer -> its schedule, stepped after every optimizer step."""
    warmup = Warmup(warmup_epochs, steps_per_epoch, max_epoch)
    check_last_lr(last_lr)
    total = max_epoch * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup.steps:
            return warmup.factor(step)
        progress = min(1.0, (step - warmup.steps) / (total - warmup.steps))
        return last_lr + (1.0 - last_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
