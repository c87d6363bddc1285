"""Exponential decay to a last rate, times a linear warm-up, as in wespeaker.

The decay goes on during the warm-up, so the highest rate is a little below --lr. wespeaker multiplies the
rates of its recipes by the batch size / 64; --lr is the product.
"""

from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scheduler._warmup import Warmup, WarmupEpochs


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    warmup_epochs: WarmupEpochs = 0.0,
    last_lr: Annotated[float, "rate at the end, as a fraction of --lr, above 0"] = 0.001,
) -> LambdaLR:
    """Optimizer -> its schedule, stepped after every optimizer step."""
    warmup = Warmup(warmup_epochs, steps_per_epoch, max_epoch)
    if not 0.0 < last_lr <= 1.0:
        raise ValueError(f"--last_lr must be in (0, 1], got {last_lr}")
    total = max_epoch * steps_per_epoch
    return LambdaLR(optimizer, lambda step: warmup.factor(step) * last_lr ** min(1.0, step / total))
