"""Step decay as in voxceleb_trainer: the rate is multiplied by lr_decay at intervals of epochs."""

from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    lr_decay: Annotated[float, "factor of each decay"] = 0.95,
    lr_decay_epochs: Annotated[int, "epochs between decays; 0: as many as --test_interval"] = 0,
    test_interval: Annotated[int, "epochs between tests"] = 10,
) -> LambdaLR:
    """Optimizer -> its schedule, stepped after every optimizer step."""
    if not 0.0 < lr_decay <= 1.0:
        raise ValueError(f"--lr_decay must be in (0, 1], got {lr_decay}")
    if lr_decay_epochs < 0:
        raise ValueError(f"--lr_decay_epochs must not be negative, got {lr_decay_epochs}")
    interval = steps_per_epoch * (lr_decay_epochs or test_interval)
    return LambdaLR(optimizer, lambda step: lr_decay ** (step // interval))
