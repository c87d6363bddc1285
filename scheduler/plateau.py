"""Linear warm-up, then a constant rate that is lowered each time tests stop finding a lower EER."""

from typing import Annotated

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from scheduler._warmup import Warmup, WarmupEpochs, check_last_lr


class Plateau(LambdaLR):
    """The schedule; its state is the number of times that the rate was lowered."""

    def __init__(
        self, optimizer: Optimizer, warmup: Warmup, *, factor: float, patience: int, last_lr: float
    ) -> None:
        self.lowered = 0
        self.factor = factor
        self.patience = patience
        self.last_lr = last_lr
        super().__init__(optimizer, lambda step: warmup.factor(step) * self._level())

    def _level(self) -> float:
        return max(self.last_lr, self.factor**self.lowered)

    def after_test(self, tests_since_best: int) -> None:
        """Lower the rate if that many tests have not found a lower EER; see scheduler/__init__.py."""
        if not tests_since_best or tests_since_best % self.patience:
            return
        before = self._level()
        self.lowered += 1
        for group in self.optimizer.param_groups:  # the schedule sets it only after the next step
            group["lr"] *= self._level() / before


def Scheduler(
    optimizer: Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    warmup_epochs: WarmupEpochs = 0.0,
    lr_factor: Annotated[float, "factor by which the rate is lowered"] = 0.5,
    lr_patience: Annotated[int, "tests without a lower EER after which the rate is lowered"] = 3,
    last_lr: Annotated[float, "lowest rate, as a fraction of --lr"] = 0.0001,
) -> Plateau:
    """Optimizer -> its schedule, stepped after every optimizer step."""
    warmup = Warmup(warmup_epochs, steps_per_epoch, max_epoch)
    if not 0.0 < lr_factor < 1.0:
        raise ValueError(f"--lr_factor must lie between 0 and 1, got {lr_factor}")
    if lr_patience < 1:
        raise ValueError(f"--lr_patience must be at least 1, got {lr_patience}")
    check_last_lr(last_lr)
    return Plateau(optimizer, warmup, factor=lr_factor, patience=lr_patience, last_lr=last_lr)
