"""Linear warm-up of the learning rate, which several schedules begin with."""

from typing import Annotated

WarmupEpochs = Annotated[float, "epochs over which the rate rises from near 0 to --lr"]


class Warmup:
    """Optimizer steps -> factor on the learning rate, in (0, 1]."""

    def __init__(self, warmup_epochs: float, steps_per_epoch: int, max_epoch: int) -> None:
        """Raises ValueError unless the warm-up ends before the run."""
        if not 0.0 <= warmup_epochs < max_epoch:
            raise ValueError(f"--warmup_epochs must be in [0, --max_epoch), got {warmup_epochs}")
        self.steps = warmup_epochs * steps_per_epoch

    def factor(self, step: int) -> float:
        """Number of steps done -> factor of the next one; 1 after the warm-up."""
        return min(1.0, (step + 1) / (self.steps + 1))


def check_last_lr(last_lr: float) -> None:
    """Raises ValueError for a last rate that isn't a fraction of --lr."""
    if not 0.0 <= last_lr <= 1.0:
        raise ValueError(f"--last_lr must be in [0, 1], got {last_lr}")
