"""Cyclic rates: a line up and down in each cycle, half as high from one to the next (Smith 2017).

arXiv:1506.01186, section 3.2. SpeechBrain's recipe for ECAPA-TDNN has cycles of one height.
"""

from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    cycles: Annotated[float, "number of cycles in the run"] = 4.0,
    cycle_decay: Annotated[float, "height of a cycle, relative to the one before; 1: all are equal"] = 0.5,
    lowest_lr: Annotated[float, "rate between two cycles, as a fraction of --lr"] = 1e-5,
) -> LambdaLR:
    """Optimizer -> its schedule, stepped after every optimizer step."""
    if not 0.0 < cycles <= max_epoch * steps_per_epoch:
        raise ValueError(f"--cycles must be positive and at most the number of steps, got {cycles}")
    if not 0.0 < cycle_decay <= 1.0:
        raise ValueError(f"--cycle_decay must be in (0, 1], got {cycle_decay}")
    if not 0.0 < lowest_lr <= 1.0:
        raise ValueError(f"--lowest_lr must be in (0, 1], got {lowest_lr}")
    length = max_epoch * steps_per_epoch / cycles  # of a cycle, in steps

    def factor(step: int) -> float:
        cycle, place = divmod(step / length, 1.0)
        height = 1.0 - abs(2.0 * place - 1.0)
        return lowest_lr + (1.0 - lowest_lr) * height * cycle_decay**cycle

    return LambdaLR(optimizer, factor)
