"""Schedules of the margin: 0 at first, then rising to --margin, set before every optimizer step."""

from collections.abc import Mapping
from typing import Any

from torch import nn

LEFT_AT_THE_END = 1e-3  # of the exponential rise: the fraction of the margin that the last step adds
RISING = ("margin", "inter_topk_penalty")  # attributes of losses: a penalty is meant for the full margin


class MarginSchedule:
    """Sets the margin of a loss, or of the parts of a combined one, as a function of the steps done."""

    def __init__(self, loss: nn.Module, values: Mapping[str, Any], num_batches: int) -> None:
        """A schedule of the margin that the loss was built with.

        Args:
            loss: it, or modules in it, have an attribute `margin`.
            values: resolved options. margin_epochs are two numbers of epochs: the margin is 0 until the first
                one is done, and full from the second on.
            num_batches: of an epoch.

        Raises:
            ValueError: the loss has no margin, or the epochs are missing or out of range.
        """
        self.num_batches = num_batches
        self.schedule = schedule = values["margin_schedule"]
        self.full: list[tuple[Any, str, float]] = []
        if schedule == "constant":
            return
        epochs = values["margin_epochs"]
        if epochs is None or len(epochs) != 2 or not 0.0 <= epochs[0] < epochs[1] <= values["max_epoch"]:
            given = "nothing" if epochs is None else ",".join(f"{epoch:g}" for epoch in epochs)
            raise ValueError(
                f"--margin_schedule {schedule} needs --margin_epochs A,B with 0 <= A < B <= --max_epoch, "
                f"which is {values['max_epoch']}; got {given}"
            )
        self.first, self.last = epochs
        modules = list(loss.modules())
        self.full = [(m, name, getattr(m, name)) for m in modules for name in RISING if hasattr(m, name)]
        if not any(name == "margin" for _, name, _ in self.full):
            raise ValueError(
                f"--margin_schedule {schedule}: {values['trainfunc']} has no margin; leave the flag out"
            )

    def set(self, epoch: int, batches_done: int) -> float | None:
        """Set the margin before a batch of an epoch, counted from 1 -> the margin; None if it is constant."""
        if self.schedule == "constant":
            return None
        fraction = self._fraction(epoch - 1 + batches_done / self.num_batches)
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
