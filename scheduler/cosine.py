"""Linear warm-up, then half a cosine to a last rate (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

import math
from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    warmup_epochs: Annotated[float, "epochs over which the rate rises from near 0 to --lr"] = 0.0,
    last_lr: Annotated[float, "rate at the end, as a fraction of --lr"] = 0.0,
) -> LambdaLR:
    """Optimizer -> its schedule, stepped after every optimizer step."""
    if not 0.0 <= warmup_epochs < max_epoch:
        raise ValueError(f"--warmup_epochs must be in [0, --max_epoch), got {warmup_epochs}")
    if not 0.0 <= last_lr <= 1.0:
        raise ValueError(f"--last_lr must be in [0, 1], got {last_lr}")
    warmup = warmup_epochs * steps_per_epoch
    total = max_epoch * steps_per_epoch

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        progress = min(1.0, (step - warmup) / (total - warmup))
        return last_lr + (1.0 - last_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)
