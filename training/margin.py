"""Schedules of the margin: 0 at first, then rising to --margin, set before every optimizer step."""

from collections.abc import Sequence
from typing import Any

from torch import nn

LEFT_AT_THE_END = 1e-3  # of the exponential rise: the fraction of the margin that the last step adds
RISING = ("margin", "inter_topk_penalty")  # attributes of losses: a penalty is meant for the full margin


class MarginSchedule:
    """Sets the margin of a loss, or of the parts of a combined one, as a function of the steps done."""

    def __init__(
        self,
        loss: nn.Module,
        schedule: str,
        epochs: Sequence[float] | None,
        *,
        max_epoch: int,
        trainfunc: str,
    ) -> None:
        """A schedule of the margin that the loss was built with.

        Args:
            loss: it, or modules in it, have an attribute `margin`.
            schedule: constant, linear or exponential.
            epochs: two numbers of epochs: the margin is 0 until the first one is done, and full from the
                second on. None for a constant margin.
            max_epoch: epochs of the run.
            trainfunc: name of the loss, for errors.

        Raises:
            ValueError: the loss has no margin, or the epochs are missing or out of range.
        """
        self.schedule = schedule
        self.full: list[tuple[Any, str, float]] = []
        if schedule == "constant":
            return
        if epochs is None or len(epochs) != 2 or not 0.0 <= epochs[0] < epochs[1] <= max_epoch:
            given = "nothing" if epochs is None else ",".join(f"{epoch:g}" for epoch in epochs)
            raise ValueError(
                f"--margin_schedule {schedule} needs --margin_epochs A,B with 0 <= A < B <= --max_epoch, "
                f"which is {max_epoch}; got {given}"
            )
        self.first, self.last = epochs
        modules = list(loss.modules())
        self.full = [(m, name, getattr(m, name)) for m in modules for name in RISING if hasattr(m, name)]
        if not any(name == "margin" for _, name, _ in self.full):
            raise ValueError(f"--margin_schedule {schedule}: {trainfunc} has no margin; leave the flag out")

    def set(self, epochs_done: float) -> float | None:
        """Set the margin for a step -> the margin; None if it is constant.

        epochs_done: epochs before this step, such as 2.25 after a quarter of the third epoch.
        """
        if self.schedule == "constant":
            return None
        fraction = self._fraction(epochs_done)
        for module, name, full in self.full:
            setattr(module, name, fraction * full)
        return next(fraction * full for _, name, full in self.full if name == "margin")

    def _fraction(self, epochs_done: float) -> float:
        """Epochs -> fraction of the full margin, in [0, 1].

        The exponential rise is wespeaker's, 1 - 0.001 ** t for t in [0, 1), which ends with a step of 0.001.
        """
        rise = (epochs_done - self.first) / (self.last - self.first)
        if rise <= 0.0 or rise >= 1.0 or self.schedule == "linear":
            return min(max(rise, 0.0), 1.0)
        return 1.0 - LEFT_AT_THE_END**rise
