"""One cycle: half a cosine up to --lr, another down to near 0 (Smith and Topin 2017, arXiv:1708.07120)."""

import math
from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scheduler._warmup import check_last_lr


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    rise: Annotated[float, "fraction of the run over which the rate rises"] = 0.3,
    first_lr: Annotated[float, "rate of the first step, as a fraction of --lr"] = 0.04,
    last_lr: Annotated[float, "rate of the last step, as a fraction of --lr"] = 4e-6,
) -> LambdaLR:
    """Optimizer -> its schedule, stepped after every optimizer step; PyTorch's OneCycleLR by default."""
    if not 0.0 < rise < 1.0:
        raise ValueError(f"--rise must lie between 0 and 1, got {rise}")
    if not 0.0 < first_lr <= 1.0:
        raise ValueError(f"--first_lr must be in (0, 1], got {first_lr}")
    check_last_lr(last_lr)
    last = max_epoch * steps_per_epoch - 1
    highest = rise * (last + 1) - 1  # the step with --lr

    def factor(step: int) -> float:
        if step < highest:
            return _between(first_lr, 1.0, step / highest)
        return _between(1.0, last_lr, min(1.0, (step - highest) / max(last - highest, 1e-9)))

    return LambdaLR(optimizer, factor)


def _between(first: float, last: float, progress: float) -> float:
    """Half a cosine from the first value to the last one; progress in [0, 1]."""
    return last + (first - last) * 0.5 * (1.0 + math.cos(math.pi * progress))
